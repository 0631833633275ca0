//! `compat = "trl"` against TRL's own loss and gradient on random logits
//! (`fixtures/distill/trl_losses.json`, written by `scripts/peers/make_trl_losses.py`).

use std::path::Path;

use limbeck_distill::DistillConfig;
use limbeck_distill::config::Compat;
use limbeck_distill::divergence::Divergence;
use serde_json::Value;
use tch::Tensor;

fn matrix(value: &Value) -> Tensor {
    let rows: Vec<Vec<f64>> = serde_json::from_value(value.clone()).unwrap();
    let columns = rows[0].len() as i64;
    Tensor::from_slice(&rows.concat()).view([-1, columns])
}

#[test]
fn losses_and_gradients_are_trls() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/distill/trl_losses.json");
    let fixture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let labels: Vec<i64> = serde_json::from_value(fixture["labels"].clone()).unwrap();
    let counted = Tensor::from_slice(&labels).not_equal(-100);
    let count = labels.iter().filter(|&&label| label != -100).count() as f64;
    let (student, teacher) = (matrix(&fixture["student"]), matrix(&fixture["teacher"]));
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 15);
    for case in cases {
        let config = DistillConfig {
            divergence: Divergence::Jsd,
            compat: Compat::Trl,
            jsd_beta: case["beta"].as_f64().unwrap(),
            temperature: case["temperature"].as_f64().unwrap(),
            ..DistillConfig::default()
        };
        let leaf = student.copy().set_requires_grad(true);
        let rows = config.divergence_settings().per_row(&leaf, &teacher).unwrap();
        let mean = rows.masked_select(&counted).sum(None) / count;
        let loss = mean * config.temperature_scale();
        let expected = case["loss"].as_f64().unwrap();
        let found = loss.double_value(&[]);
        assert!((found - expected).abs() < 1e-12, "{case}: {found}");
        loss.backward();
        let gradient = leaf.grad();
        let last = gradient.size()[1] - 1;
        let found = gradient.index_select(1, &Tensor::from_slice(&[0, last]));
        let worst = (found - matrix(&case["gradient"])).abs().max().double_value(&[]);
        assert!(worst < 1e-12, "beta {}: a gradient differs by {worst}", case["beta"]);
    }
}
