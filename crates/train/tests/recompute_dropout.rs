//! Activation checkpointing under dropout. Alone in its process: libtorch's generator is
//! one for all threads.

use std::sync::{Arc, Mutex};

use limbeck_core::test_device;
use limbeck_model::{Decoder, Linear, Result as ModelResult};
use limbeck_train::{Batch, Example, Objective, SupervisedObjective};
use serde_json::json;
use tch::{Kind, Tensor};

/// A projection with dropout on its input, as an adapter has it, that remembers what it
/// dropped, or drops what it is told.
#[derive(Debug)]
struct Dropping {
    base: Box<dyn Linear>,
    masks: Arc<Mutex<Vec<Tensor>>>,
    replays: bool,
}

impl Linear for Dropping {
    fn forward(&self, input: &Tensor) -> ModelResult<Tensor> {
        let mut masks = self.masks.lock().unwrap();
        let mask = if self.replays {
            masks[0].shallow_clone()
        } else {
            input.f_ones_like()?.f_dropout(0.3, true)?
        };
        masks.push(mask.detach());
        self.base.forward(&input.f_mul(&mask)?)
    }

    fn in_features(&self) -> i64 {
        self.base.in_features()
    }

    fn out_features(&self) -> i64 {
        self.base.out_features()
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        self.base.tensors()
    }

    fn dense_weight(&self) -> ModelResult<Tensor> {
        self.base.dense_weight()
    }

    fn bias(&self) -> Option<Tensor> {
        self.base.bias()
    }
}

/// The model, and the masks of each of its projections.
fn model(replayed: Option<&[Arc<Mutex<Vec<Tensor>>>]>) -> (Decoder, Vec<Arc<Mutex<Vec<Tensor>>>>) {
    let config = json!({
        "model_type": "qwen2", "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_act": "silu", "max_position_embeddings": 128, "initializer_range": 0.1,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "use_sliding_window": false,
        "tie_word_embeddings": true,
    });
    let mut model = Decoder::init(&config, 7, test_device(), Kind::Float).unwrap();
    let mut all = Vec::new();
    for (index, name) in model.linear_names().iter().enumerate() {
        let masks = replayed.map_or_else(Arc::default, |masks| masks[index].clone());
        all.push(masks.clone());
        let replays = replayed.is_some();
        model
            .map_linear(name, &mut |base| {
                Ok(Box::new(Dropping { base, masks: masks.clone(), replays }))
            })
            .unwrap();
    }
    model.set_requires_grad(true).unwrap();
    (model, all)
}

#[test]
fn a_block_that_runs_again_drops_the_same() {
    let examples: Vec<Example> = (0..5)
        .map(|index| Example {
            id: String::new(),
            tokens: (0..9 + index).map(|at| ((index * 31 + at * 7) % 50) as i64).collect(),
            weights: (0..9 + index).map(|at| if at > 2 { 1.0 } else { 0.0 }).collect(),
            ..Example::default()
        })
        .collect();
    let batch = Batch::new(&examples.iter().collect::<Vec<_>>(), 0, test_device()).unwrap();
    let mut objective = SupervisedObjective { chunk_rows: 16 };
    let (cut, masks) = model(None);
    let found = objective.accumulate_recomputed(&cut, &batch, batch.weight_sum).unwrap();
    for (index, masks) in masks.iter().enumerate() {
        let masks = masks.lock().unwrap();
        assert_eq!(masks.len(), 2, "once forward, once again");
        assert_eq!(masks[0], masks[1], "projection {index}");
        assert!(masks[0].min().double_value(&[]) == 0.0);
    }
    let differ = |left: usize, right: usize| {
        masks[left].lock().unwrap()[0] != masks[right].lock().unwrap()[0]
    };
    assert!(differ(0, 1) && differ(0, 7), "projections and blocks draw their own");

    let (plain, _) = model(Some(&masks));
    let expected = objective.accumulate(&plain, &batch, batch.weight_sum).unwrap();
    assert!((expected[0].1 - found[0].1).abs() < 1e-9);
    for ((name, left), (_, right)) in plain.named_parameters().iter().zip(cut.named_parameters()) {
        let difference = (left.grad() - right.grad()).abs().max().double_value(&[]);
        assert!(difference < 1e-6, "{name}: {difference}");
    }

    // The next micro-batch drops otherwise, the same seed the same.
    let first_mask = |seed: Option<i64>| {
        if let Some(seed) = seed {
            tch::manual_seed(seed);
        }
        let (model, masks) = model(None);
        objective.clone().accumulate_recomputed(&model, &batch, batch.weight_sum).unwrap();
        masks[0].lock().unwrap()[0].shallow_clone()
    };
    let (first, next, again) = (first_mask(Some(3)), first_mask(None), first_mask(Some(3)));
    assert_eq!(first, again);
    assert_ne!(first, next);
}
