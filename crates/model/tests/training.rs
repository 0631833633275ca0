//! What training needs: seeded initialisation, gradients, master weights, replacement.

use std::path::Path;

use limbeck_model::{
    Attention, Decoder, DenseLinear, Input, KvCache, Linear, LoadOptions, Result, Taps,
};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

const FAMILIES: [&str; 5] = ["llama3", "mistral", "qwen2", "qwen3", "gemma3"];

fn load(family: &str, compute_dtype: Kind) -> Decoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity").join(family);
    let options = LoadOptions { compute_dtype, ..LoadOptions::dense(Device::Cpu, Kind::Float) };
    Decoder::load(&folder, &options).unwrap()
}

fn tokens(rows: i64, length: i64) -> Tensor {
    (Tensor::arange(rows * length, (Kind::Int64, Device::Cpu)) * 7 + 11)
        .remainder(250)
        .view([rows, length])
}

fn small(model_type: &str) -> Value {
    json!({
        "model_type": model_type, "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
        "initializer_range": 0.05, "tie_word_embeddings": true, "sliding_window": 8,
    })
}

/// Gradients of a weighted sum of the logits, by parameter.
fn gradients(model: &Decoder, input: &Input<'_>, taps: Option<&mut Taps>) -> Vec<(String, Tensor)> {
    model.set_requires_grad(true).unwrap();
    let logits = model.logits(&model.forward(input, None, taps).unwrap()).unwrap();
    let weights = Tensor::arange(logits.numel() as i64, (Kind::Float, Device::Cpu)).sin();
    (&logits * weights.view_as(&logits)).sum(Kind::Float).backward();
    model
        .named_parameters()
        .into_iter()
        .map(|(name, mut tensor)| {
            let gradient = tensor.grad().copy();
            tensor.zero_grad();
            (name, gradient)
        })
        .collect()
}

#[test]
fn initialisation_depends_on_the_seed_alone() {
    for model_type in ["llama", "mistral", "qwen2", "qwen3", "gemma3_text"] {
        let config = small(model_type);
        let make = |seed| Decoder::init(&config, seed, Device::Cpu, Kind::Float).unwrap();
        let first = make(1).named_parameters();
        tch::manual_seed(5);
        let (again, other) = (make(1).named_parameters(), make(2).named_parameters());
        for (((name, left), (_, right)), (_, different)) in first.iter().zip(&again).zip(&other) {
            assert!(left.equal(right), "{model_type}: {name}");
            let matrix = left.dim() == 2;
            assert_eq!(left.equal(different), !matrix, "{model_type}: {name}");
            if matrix {
                let deviation = left.std(false).double_value(&[]);
                assert!((deviation - 0.05).abs() < 0.01, "{model_type}: {name}: {deviation}");
            }
        }
    }
}

#[test]
fn a_fresh_norm_changes_nothing_but_the_scale() {
    for model_type in ["qwen2", "gemma3_text"] {
        let model = Decoder::init(&small(model_type), 1, Device::Cpu, Kind::Float).unwrap();
        let hidden =
            model.forward(&Input::causal(&tokens(1, 5).remainder(40)), None, None).unwrap();
        let mean_square = hidden.square().mean_dim(-1, false, Kind::Float);
        assert!((mean_square - 1.0).abs().max().double_value(&[]) < 1e-2, "{model_type}");
    }
}

#[test]
fn every_parameter_gets_a_gradient_by_either_attention() {
    for family in FAMILIES {
        let model = load(family, Kind::Float);
        let tokens = tokens(2, 9);
        let input = Input::causal(&tokens);
        let fused = gradients(&model, &input, None);
        let mut taps = Taps::new(Vec::new(), (0..model.num_layers()).collect());
        let explicit = gradients(&model, &input, Some(&mut taps));
        for ((name, fused), (_, explicit)) in fused.iter().zip(&explicit) {
            let scale = fused.abs().max().double_value(&[]);
            assert!(scale > 0.0, "{family}: {name} has no gradient");
            let error = (fused - explicit).abs().max().double_value(&[]);
            assert!(error < 1e-4 * scale.max(1.0), "{family}: {name}: {error} of {scale}");
        }
    }
}

#[test]
fn a_gradient_equals_the_slope() {
    let model = load("gemma3", Kind::Float);
    let tokens = tokens(1, 9);
    let input = Input::causal(&tokens);
    let analytic = gradients(&model, &input, None);
    model.set_requires_grad(false).unwrap();
    let value = || {
        let logits = model.logits(&model.forward(&input, None, None).unwrap()).unwrap();
        let weights = Tensor::arange(logits.numel() as i64, (Kind::Float, Device::Cpu)).sin();
        (&logits * weights.view_as(&logits)).sum(Kind::Double).double_value(&[])
    };
    for name in ["model.layers.0.input_layernorm.weight", "model.layers.2.self_attn.k_norm.weight"]
    {
        let mut parameter =
            model.named_parameters().into_iter().find(|(other, _)| other == name).unwrap().1;
        let gradient = &analytic.iter().find(|(other, _)| other == name).unwrap().1;
        let step = 1e-2;
        let before = parameter.copy();
        let mut bumped = parameter.get(1);
        let _ = bumped.g_add_scalar_(step);
        let up = value();
        let _ = bumped.g_sub_scalar_(2.0 * step);
        let slope = (up - value()) / (2.0 * step);
        parameter.copy_(&before);
        let expected = gradient.double_value(&[1]);
        assert!(
            (slope - expected).abs() < 0.02 * expected.abs() + 0.05,
            "{name}: {slope}, {expected}"
        );
    }
}

#[test]
fn tapped_hidden_states_carry_gradients() {
    let model = load("qwen2", Kind::Float);
    model.set_requires_grad(true).unwrap();
    let tokens = tokens(1, 6);
    let mut taps = Taps::new(vec![1], vec![0]);
    let _ = model.forward(&Input::causal(&tokens), None, Some(&mut taps)).unwrap();
    (taps.hidden[&1].square().sum(Kind::Float) + taps.attention[&0].square().sum(Kind::Float))
        .backward();
    for (name, tensor) in model.named_parameters() {
        let reached = name.contains("layers.0.") || name.contains("embed_tokens");
        assert_eq!(tensor.grad().defined(), reached, "{name}");
    }
}

#[test]
fn master_weights_under_bf16_compute() {
    for family in FAMILIES {
        let wide = load(family, Kind::Float);
        let mut narrow = load(family, Kind::Float);
        narrow.set_compute_dtype(Kind::BFloat16);
        let tokens = tokens(1, 9);
        let input = Input::causal(&tokens);
        let hidden = narrow.forward(&input, None, None).unwrap();
        assert_eq!(hidden.kind(), Kind::BFloat16, "{family}");
        let expected = wide.forward(&input, None, None).unwrap();
        let error = (hidden.to_kind(Kind::Float) - &expected).norm() / expected.norm();
        assert!(error.double_value(&[]) < 0.05, "{family}: {error:?}");
        for (name, gradient) in gradients(&narrow, &input, None) {
            assert_eq!(gradient.kind(), Kind::Float, "{family}: {name}");
        }
    }
}

#[test]
fn cache_rows_follow_their_selection() {
    let _guard = tch::no_grad_guard();
    let model = load("qwen3", Kind::Float);
    let tokens = tokens(3, 7);
    let mut cache = KvCache::new(&model, 3, 16).unwrap();
    let prompt = tokens.narrow(1, 0, 6);
    let _ = model.forward(&Input::causal(&prompt), Some(&mut cache), None).unwrap();
    let rows = Tensor::from_slice(&[2_i64, 0]);
    cache.select_rows(&rows).unwrap();
    let kept = tokens.index_select(0, &rows);
    let last = kept.narrow(1, 6, 1);
    let stepped = model.forward(&Input::causal(&last), Some(&mut cache), None).unwrap();
    let whole = model.forward(&Input::causal(&kept), None, None).unwrap().narrow(1, 6, 1);
    assert!((stepped - &whole).abs().max().double_value(&[]) < 1e-4);

    // Forgetting the last slot and writing it again gives the same.
    cache.truncate(6).unwrap();
    let again = model.forward(&Input::causal(&last), Some(&mut cache), None).unwrap();
    assert!((again - whole).abs().max().double_value(&[]) < 1e-4);
    cache.reset();
    assert!(cache.is_empty() && cache.capacity() == 16);
}

#[test]
fn packing_equals_padding_in_its_gradients() {
    let model = load("mistral", Kind::Float);
    let tokens = tokens(1, 12);
    let segments = Tensor::from_slice(&[4_i64; 5]);
    let segments = Tensor::cat(&[segments, Tensor::from_slice(&[9_i64; 7])], 0).unsqueeze(0);
    let packed =
        Input { tokens: &tokens, positions: None, attention: Attention::Segments(&segments) };
    model.set_requires_grad(true).unwrap();
    let sum = |input: &Input<'_>| {
        let hidden = model.forward(input, None, None).unwrap();
        model.logits(&hidden).unwrap().square().sum(Kind::Float)
    };
    sum(&packed).backward();
    let parameters = model.named_parameters();
    let expected: Vec<Tensor> = parameters.iter().map(|(_, tensor)| tensor.grad().copy()).collect();
    for (_, tensor) in model.named_parameters() {
        let mut tensor = tensor;
        tensor.zero_grad();
    }
    for (start, length) in [(0, 5), (5, 7)] {
        sum(&Input::causal(&tokens.narrow(1, start, length))).backward();
    }
    for ((name, tensor), expected) in parameters.iter().zip(&expected) {
        let scale = expected.abs().max().double_value(&[]);
        let error = (tensor.grad() - expected).abs().max().double_value(&[]);
        assert!(error < 1e-4 * scale, "{name}: {error} of {scale}");
    }
}

/// A layer of another crate, as an adapter would be.
#[derive(Debug)]
struct Doubled(Box<dyn Linear>);

impl Linear for Doubled {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        Ok(self.0.forward(input)?.f_mul_scalar(2.0)?)
    }
    fn in_features(&self) -> i64 {
        self.0.in_features()
    }
    fn out_features(&self) -> i64 {
        self.0.out_features()
    }
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let renamed = |(name, tensor)| (format!("base.{name}"), tensor);
        self.0.tensors().into_iter().map(renamed).collect()
    }
    fn dense_weight(&self) -> Result<Tensor> {
        Ok(self.0.dense_weight()?.f_mul_scalar(2.0)?)
    }
    fn bias(&self) -> Option<Tensor> {
        None
    }
}

#[test]
fn any_layer_can_take_a_place() {
    let mut model = load("llama3", Kind::Float);
    let tokens = tokens(1, 5);
    let input = Input::causal(&tokens);
    let mut names = model.linear_names();
    assert_eq!(names.len(), 7 * model.num_layers());
    names.push(model.head_name().unwrap().to_owned());
    let count = model.num_parameters();
    for name in &names {
        model.map_linear(name, &mut |layer| Ok(Box::new(Doubled(layer)))).unwrap();
    }
    let doubled = model.logits(&model.forward(&input, None, None).unwrap()).unwrap();
    assert_eq!(model.num_parameters(), count);
    assert!(
        model
            .named_parameters()
            .iter()
            .any(|(name, _)| { name == "model.layers.0.self_attn.q_proj.base.weight" })
    );
    let layer: &dyn std::any::Any = model.linear(&names[0]).unwrap();
    assert!(layer.downcast_ref::<Doubled>().is_some());

    // Merging gives the same model.
    for name in &names {
        model
            .map_linear(name, &mut |layer| {
                Ok(Box::new(DenseLinear::new(layer.dense_weight()?, layer.bias())?))
            })
            .unwrap();
    }
    let merged = model.logits(&model.forward(&input, None, None).unwrap()).unwrap();
    assert!((merged - doubled).abs().max().double_value(&[]) < 1e-3);
}
