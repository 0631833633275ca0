//! Each optimiser on a small regression: it converges, resumes to the same bits and keeps
//! no more state than it says.

use std::sync::Mutex;

use limbeck_core::test_device;
use limbeck_train::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};
use tch::{Kind, Tensor};

const KINDS: [OptimizerKind; 3] =
    [OptimizerKind::AdamW, OptimizerKind::AdamW8bit, OptimizerKind::Adafactor];
const ROWS: i64 = 96;
const COLUMNS: i64 = 64;

fn config(kind: OptimizerKind, muon_ratio: Option<f64>) -> OptimizerConfig {
    OptimizerConfig { kind, beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.01, muon_ratio }
}

static GENERATOR: Mutex<()> = Mutex::new(());

/// `tanh(x A) b` towards a made-up target of the same form.
struct Regression {
    parameters: Vec<(String, Tensor)>,
    inputs: Tensor,
    targets: Tensor,
}

impl Regression {
    fn new() -> Self {
        // libtorch's generator is one for all threads.
        let _alone = GENERATOR.lock().unwrap();
        tch::manual_seed(5);
        let options = (Kind::Float, test_device());
        let random = |shape: &[i64], scale: f64| Tensor::randn(shape, options) * scale;
        let inputs = random(&[512, ROWS], 1.0);
        let targets = inputs.matmul(&random(&[ROWS, COLUMNS], 0.1)).tanh();
        let targets = targets.matmul(&random(&[COLUMNS, 8], 0.3)) + random(&[8], 0.5);
        let parameters = [
            ("a", random(&[ROWS, COLUMNS], 0.1)),
            ("b", random(&[COLUMNS, 8], 0.1)),
            ("bias", Tensor::zeros([8], options)),
        ];
        let parameters = parameters
            .map(|(name, tensor)| (name.to_owned(), tensor.set_requires_grad(true)))
            .into();
        Self { parameters, inputs, targets }
    }

    fn optimizer(&self, kind: OptimizerKind, muon_ratio: Option<f64>) -> Optimizer {
        let own =
            self.parameters.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
        Optimizer::new(own.collect(), config(kind, muon_ratio)).unwrap()
    }

    fn loss(&self) -> Tensor {
        let [a, b, bias] = [0, 1, 2].map(|index| &self.parameters[index].1);
        let outputs = self.inputs.matmul(a).tanh().matmul(b) + bias;
        (outputs - &self.targets).square().mean(Kind::Float)
    }

    /// Steps number `from` to `to` of 200, the rate falling to a tenth.
    fn train(&self, optimizer: &mut Optimizer, from: u64, to: u64) {
        for step in from..to {
            optimizer.zero_gradients().unwrap();
            self.loss().backward();
            optimizer.clip_gradients(1.0).unwrap();
            optimizer.step(0.01 * (1.0 - 0.9 * step as f64 / 200.0)).unwrap();
        }
    }
}

fn trained(kind: OptimizerKind, muon_ratio: Option<f64>) -> f64 {
    let problem = Regression::new();
    let mut optimizer = problem.optimizer(kind, muon_ratio);
    problem.train(&mut optimizer, 0, 200);
    problem.loss().double_value(&[])
}

#[test]
fn all_converge_like_adamw() {
    let before = Regression::new().loss().double_value(&[]);
    let adamw = trained(OptimizerKind::AdamW, None);
    assert!(adamw < 0.02 * before, "{before} {adamw}");
    for kind in KINDS {
        for muon_ratio in [None, Some(2.0)] {
            let loss = trained(kind, muon_ratio);
            assert!(loss < 0.02 * before, "{kind:?} {muon_ratio:?}: {loss} of {before}");
        }
    }
    // Eight bits are a rounding of the same steps: near at first and at the end.
    let after = |kind, steps| {
        let problem = Regression::new();
        problem.train(&mut problem.optimizer(kind, None), 0, steps);
        problem.loss().double_value(&[])
    };
    let (exact, rounded) = (after(OptimizerKind::AdamW, 30), after(OptimizerKind::AdamW8bit, 30));
    assert!((rounded - exact).abs() < 0.05 * exact, "{rounded} {exact}");
    let rounded = trained(OptimizerKind::AdamW8bit, None);
    assert!((rounded - adamw).abs() < 0.2 * adamw, "{rounded} {adamw}");
}

#[test]
fn a_restored_optimizer_goes_on_with_the_same_bits() {
    tch::set_num_threads(1);
    for kind in KINDS {
        let straight = Regression::new();
        let mut optimizer = straight.optimizer(kind, Some(2.0));
        straight.train(&mut optimizer, 0, 20);
        let saved: Vec<(String, Tensor)> =
            optimizer.state().iter().map(|(name, tensor)| (name.clone(), tensor.copy())).collect();
        straight.train(&mut optimizer, 20, 40);

        let resumed = Regression::new();
        let mut optimizer = resumed.optimizer(kind, Some(2.0));
        optimizer
            .restore(20, &mut |name, shape| {
                let (_, tensor) = saved.iter().find(|(known, _)| known == name).unwrap();
                assert_eq!(tensor.size(), shape, "{name}");
                Ok(tensor.copy())
            })
            .unwrap();
        resumed.train(&mut optimizer, 20, 40);
        for (left, right) in straight.parameters.iter().zip(&resumed.parameters) {
            assert!(left.1.equal(&right.1), "{kind:?} {}", left.0);
        }
    }
}

#[test]
fn the_state_takes_what_is_claimed() {
    let problem = Regression::new();
    let bytes = |kind| problem.optimizer(kind, None).state_bytes();
    let matrices = (ROWS * COLUMNS + COLUMNS * 8) as u64;
    // The vector of 8 is padded to 16 scalars.
    assert_eq!(bytes(OptimizerKind::AdamW), 8 * (matrices + 16));
    // Two codes a scalar, two float32 a block of 256; the vector's moments stay float32.
    assert_eq!(bytes(OptimizerKind::AdamW8bit), 2 * matrices + 2 * 4 * matrices / 256 + 8 * 16);
    let sides = (ROWS + COLUMNS + COLUMNS + 8) as u64;
    assert_eq!(bytes(OptimizerKind::Adafactor), 4 * (sides + 16));
}
