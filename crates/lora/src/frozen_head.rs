//! Cross-entropy of a model whose head is frozen, as it is under an adapter.
//!
//! The head then needs no graph: with p = softmax(logits), the loss's derivative by a row's
//! logits is `weight · (p − onehot(target))`, so one buffer of logits becomes its own
//! gradient in place, where autograd would hold four of that size. A weight that is stored
//! in another dtype, or packed, is cast in slices of the vocabulary and never held whole.

use limbeck_model::Decoder;
use limbeck_train::objective::forward;
use limbeck_train::{Batch, Losses, Objective, head, recompute};
use tch::{Kind, Tensor, no_grad};

type Result<T> = limbeck_train::Result<T>;

/// The most bytes of logits held at a time, in f32.
const CHUNK_BYTES: i64 = 128 << 20;
/// Rows of a weight that are cast, or unpacked, together: a slice that stays in a processor's
/// cache.
const CAST_ROWS: i64 = 4096;

/// Cross-entropy on the tokens of the completion, for a model with a frozen head.
#[derive(Debug, Clone, Copy)]
pub struct FrozenHeadObjective {
    /// Rows of the vocabulary projection at a time, at most; fewer where their logits would
    /// take more than 128 MiB.
    pub chunk_rows: i64,
}

impl Objective for FrozenHeadObjective {
    fn accumulate(&mut self, model: &Decoder, batch: &Batch, total_weight: f64) -> Result<Losses> {
        let hidden = forward(model, batch)?;
        self.backward(model, &hidden, batch, total_weight)
    }

    fn accumulate_recomputed(
        &mut self,
        model: &Decoder,
        batch: &Batch,
        total_weight: f64,
    ) -> Result<Losses> {
        let (hidden, cut) = recompute::forward(model, batch, None)?;
        let losses = self.backward(model, &hidden, batch, total_weight)?;
        cut.backward()?;
        Ok(losses)
    }
}

impl FrozenHeadObjective {
    /// Backward from the loss to wherever the graph of `hidden` begins.
    fn backward(
        self,
        model: &Decoder,
        hidden: &Tensor,
        batch: &Batch,
        total_weight: f64,
    ) -> Result<Losses> {
        let rows = head::select_rows(hidden, batch)?; // [rows, hidden_size]
        let num_rows = rows.size()[0];
        if num_rows == 0 {
            return Ok(vec![("loss", 0.0)]);
        }
        let (loss, gradient) = no_grad(|| -> Result<(f64, Tensor)> {
            let head = FrozenHead { model };
            let weights = batch.weights.f_div_scalar(total_weight)?;
            let chunk_rows = self.chunk_rows.min(CHUNK_BYTES / (4 * head.vocabulary())).max(1);
            let (mut loss, mut gradients) = (0.0, Vec::new());
            for start in (0..num_rows).step_by(chunk_rows as usize) {
                let length = chunk_rows.min(num_rows - start);
                let chunk = |of: &Tensor| of.f_narrow(0, start, length);
                let (value, gradient) =
                    head.chunk(&chunk(&rows)?, &chunk(&batch.targets)?, &chunk(&weights)?)?;
                loss += value;
                gradients.push(gradient);
            }
            Ok((loss, Tensor::f_cat(&gradients, 0)?))
        })?;
        // A scalar whose derivative by the rows is their gradient.
        rows.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
        Ok(vec![("loss", loss)])
    }
}

struct FrozenHead<'a> {
    /// Its head's matrix is `[vocab, hidden_size]`, stored in whatever way.
    model: &'a Decoder,
}

impl FrozenHead<'_> {
    fn vocabulary(&self) -> i64 {
        self.model.config().vocab_size
    }

    /// The loss of some rows and its derivative by them.
    ///
    /// # Shapes
    /// `hidden` `[rows, hidden_size]`, `targets` i64 `[rows]`, `weights` f32 `[rows]`, already
    /// divided by the step's total; the derivative is f32 `[rows, hidden_size]`.
    fn chunk(&self, hidden: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<(f64, Tensor)> {
        let (rows, hidden_size) = hidden.size2()?;
        let options = (Kind::Float, hidden.device());
        let kind = hidden.kind();
        let mut logits = Tensor::f_empty([rows, self.vocabulary()], options)?;
        self.each_slice(kind, &mut |weight, start, length| {
            let part = logits.f_narrow(1, start, length)?;
            if kind == Kind::Float {
                let _ = hidden.f_mm_out(&part, &weight.f_tr()?)?;
            } else {
                part.shallow_clone().f_copy_(&hidden.f_mm(&weight.f_tr()?)?)?;
            }
            Ok(())
        })?;
        let targets = targets.f_unsqueeze(1)?;
        let _ = logits.f_internal_log_softmax_out(&logits, -1, false)?;
        let per_row = logits.f_gather(1, &targets, false)?.f_squeeze_dim(1)?;
        let loss = -per_row.f_mul(weights)?.f_sum(Kind::Float)?.f_double_value(&[])?;
        let _ = logits.f_exp_()?;
        let _ = logits.f_scatter_add_(1, &targets, &Tensor::f_full([rows, 1], -1.0, options)?)?;
        let mut gradient = Tensor::f_zeros([rows, hidden_size], options)?;
        self.each_slice(kind, &mut |weight, start, length| {
            let part = logits.f_narrow(1, start, length)?;
            if kind == Kind::Float {
                let _ = gradient.f_addmm_(&part, weight)?;
            } else {
                let _ = gradient.f_add_(&part.f_to_kind(kind)?.f_mm(weight)?)?;
            }
            Ok(())
        })?;
        Ok((loss, gradient.f_mul(&weights.f_unsqueeze(1)?)?))
    }

    /// Hands out the weight in `kind`: whole if it is stored so, else slice by slice.
    fn each_slice(
        &self,
        kind: Kind,
        take: &mut dyn FnMut(&Tensor, i64, i64) -> Result<()>,
    ) -> Result<()> {
        let vocabulary = self.vocabulary();
        if let Some(weight) = self.model.held_head_weight(kind) {
            return take(&weight, 0, vocabulary);
        }
        for start in (0..vocabulary).step_by(CAST_ROWS as usize) {
            let length = CAST_ROWS.min(vocabulary - start);
            take(&self.model.head_rows(start, length, kind)?, start, length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::test_device;
    use limbeck_model::Embedding;
    use limbeck_train::{Example, SupervisedObjective};
    use serde_json::json;

    use super::*;
    use crate::{Adapter, AdapterConfig, LoraConfig};

    /// A model with an adapter of which B is not zero, and the adapter's tensors.
    fn adapted(parameters: Kind, compute: Kind) -> (Decoder, Vec<(String, Tensor)>) {
        let config = json!({
            "model_type": "qwen2", "vocab_size": 5000, "hidden_size": 32,
            "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "hidden_act": "silu", "max_position_embeddings": 128,
            "initializer_range": 0.2, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "use_sliding_window": false, "tie_word_embeddings": true,
        });
        let mut model = Decoder::init(&config, 7, test_device(), parameters).unwrap();
        model.set_compute_dtype(compute);
        let config: AdapterConfig = LoraConfig::default().adapter(None);
        let adapter = Adapter::attach(&mut model, config, 3).unwrap();
        let parameters = adapter.trainable_parameters();
        no_grad(|| {
            for (name, tensor) in &parameters {
                if name.contains("lora_B") {
                    let values =
                        Tensor::arange(tensor.numel() as i64, (Kind::Float, tensor.device()));
                    tensor.shallow_clone().copy_(&(values.sin() * 0.05).view_as(tensor));
                }
            }
        });
        (model, parameters)
    }

    fn batch() -> Batch {
        let examples: Vec<Example> = (0..3)
            .map(|index| Example {
                id: String::new(),
                tokens: (0..9 + index).map(|at| (index * 1931 + at * 977) % 5000).collect(),
                weights: (0..9 + index)
                    .map(|at| if at > 2 { 0.5 * at as f32 } else { 0.0 })
                    .collect(),
                ..Example::default()
            })
            .collect();
        Batch::new(&examples.iter().collect::<Vec<_>>(), 0, test_device()).unwrap()
    }

    #[test]
    fn loss_and_gradients_are_autograds() {
        let batch = batch();
        for (parameters, compute, tolerance) in [
            (Kind::Float, Kind::Float, 1e-5),
            (Kind::BFloat16, Kind::Float, 1e-5),
            (Kind::BFloat16, Kind::BFloat16, 2e-2),
        ] {
            let (plain, expected) = adapted(parameters, compute);
            let (frozen, found) = adapted(parameters, compute);
            let one = SupervisedObjective { chunk_rows: 100 }
                .accumulate(&plain, &batch, 2.0 * batch.weight_sum)
                .unwrap();
            let other = FrozenHeadObjective { chunk_rows: 7 }
                .accumulate(&frozen, &batch, 2.0 * batch.weight_sum)
                .unwrap();
            assert!((one[0].1 - other[0].1).abs() < tolerance * one[0].1, "{one:?} {other:?}");
            for ((name, expected), (_, found)) in expected.iter().zip(&found) {
                let (expected, found) = (expected.grad(), found.grad());
                let size = expected.norm().double_value(&[]);
                let difference = (expected - found).norm().double_value(&[]);
                assert!(size > 0.0 && difference < tolerance * size, "{name}: {difference} {size}");
            }
        }
    }

    /// An embedding of which no more than [`CAST_ROWS`] are handed out at a time, as a packed
    /// one would have it.
    #[derive(Debug)]
    struct Sliced(Tensor);

    impl Embedding for Sliced {
        fn forward(&self, tokens: &Tensor, kind: Kind) -> limbeck_model::Result<Tensor> {
            Ok(Tensor::f_embedding(&self.0, tokens, -1, false, false)?.f_to_kind(kind)?)
        }

        fn project(&self, _: &Tensor) -> limbeck_model::Result<Tensor> {
            self.dense_weight()
        }

        fn num_embeddings(&self) -> i64 {
            self.0.size()[0]
        }

        fn embedding_dim(&self) -> i64 {
            self.0.size()[1]
        }

        fn rows(&self, start: i64, length: i64, kind: Kind) -> limbeck_model::Result<Tensor> {
            assert!(length <= CAST_ROWS, "{length} rows at a time");
            Ok(self.0.f_narrow(0, start, length)?.f_to_kind(kind)?)
        }

        fn weight(&self) -> Option<&Tensor> {
            None
        }

        fn dense_weight(&self) -> limbeck_model::Result<Tensor> {
            panic!("the whole matrix was asked for")
        }

        fn tensors(&self) -> Vec<(String, Tensor)> {
            vec![("weight.packed".to_owned(), self.0.shallow_clone())]
        }

        fn share(&self) -> Box<dyn Embedding> {
            Box::new(Self(self.0.shallow_clone()))
        }
    }

    #[test]
    fn a_packed_embedding_is_never_asked_for_as_a_whole() {
        let batch = batch();
        let (mut sliced, found) = adapted(Kind::Float, Kind::Float);
        let (whole, expected) = adapted(Kind::Float, Kind::Float);
        let replace = |embedding: Box<dyn Embedding>| -> limbeck_model::Result<_> {
            Ok(Box::new(Sliced(embedding.dense_weight()?)) as Box<dyn Embedding>)
        };
        sliced.map_embedding(&mut |embedding| replace(embedding)).unwrap();
        let mut objective = FrozenHeadObjective { chunk_rows: 7 };
        let one = objective.accumulate(&whole, &batch, batch.weight_sum).unwrap();
        let other = objective.accumulate_recomputed(&sliced, &batch, batch.weight_sum).unwrap();
        assert!((one[0].1 - other[0].1).abs() < 1e-5, "{one:?} {other:?}");
        for ((name, expected), (_, found)) in expected.iter().zip(&found) {
            let difference = (expected.grad() - found.grad()).norm().double_value(&[]);
            assert!(difference < 1e-5 * expected.grad().norm().double_value(&[]), "{name}");
        }
    }

    #[test]
    fn a_batch_without_weights_has_no_loss() {
        let (model, parameters) = adapted(Kind::Float, Kind::Float);
        let example = Example {
            id: String::new(),
            tokens: vec![1, 2, 3],
            weights: vec![0.0; 3],
            ..Example::default()
        };
        let batch = Batch::new(&[&example], 0, test_device()).unwrap();
        let losses = FrozenHeadObjective { chunk_rows: 7 }.accumulate(&model, &batch, 1.0).unwrap();
        assert_eq!(losses, [("loss", 0.0)]);
        assert!(!parameters[0].1.grad().defined());
    }
}
