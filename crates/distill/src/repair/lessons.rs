//! What a repair learns from: texts, and what the unquantised model made of them.

use std::ops::Range;

use limbeck_model::{Decoder, DenseEmbedding, DenseLinear, Linear};
use limbeck_train::{Batch, Example, head, objective, recompute};
use tch::{Device, Kind, Tensor};

use super::RepairConfig;
use crate::divergence::DivergenceSettings;
use crate::error::Result;

/// One of so many texts is held out.
const HELD_OUT: usize = 5;
/// Bytes of one model's logits that are there at a time, if one row is not more. In tests, so
/// few that rows are taken piece by piece.
pub(super) const LOGITS_BYTES: i64 = if cfg!(test) { 7 * 40 * 4 } else { 64 << 20 };

/// A text that repair learns from.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// Its tokens.
    pub tokens: &'a [i64],
    /// The first of them whose prediction counts, from 1: questions are not what a model is to
    /// predict, and harder to than chains.
    pub reply: usize,
}

/// Texts, and the unquantised model's distribution before each of their counted tokens: as the
/// last hidden states, from which its head makes them, so that the model itself can go.
#[derive(Debug)]
pub struct Lessons {
    pub(super) held: Vec<Lesson>,
    pub(super) taught: Vec<Lesson>,
    /// As the original has it, which may share it still.
    head: DenseLinear,
}

/// What a model had for a head that is in float32 meanwhile.
#[derive(Debug)]
pub(super) struct StoredHead(Option<Tensor>);

/// A text and its hidden states.
#[derive(Debug)]
pub(super) struct Lesson {
    example: Example,
    /// float32 `[counted, hidden]`, on the CPU
    hidden: Tensor,
}

impl StoredHead {
    /// Puts it back.
    pub(super) fn put_back(&self, model: &mut Decoder) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |head| put_head(model, head))
    }
}

fn put_head(model: &mut Decoder, weight: &Tensor) -> Result<()> {
    let weight = || weight.shallow_clone();
    Ok(match model.head_name() {
        Some(name) => {
            model.map_linear(name, &mut |_| Ok(Box::new(DenseLinear::new(weight(), None)?)))
        }
        None => model.map_embedding(&mut |_| Ok(Box::new(DenseEmbedding::new(weight())?))),
    }?)
}

impl Lessons {
    /// Runs `original`, which is not quantised yet, over the texts that the repair will use.
    /// `progress` hears of so many more of them.
    ///
    /// With fewer than two texts of a counted token there is nothing to learn from.
    ///
    /// # Errors
    /// Tokens that the model does not have; libtorch's.
    pub fn new(
        original: &Decoder,
        texts: &[Text<'_>],
        config: &RepairConfig,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Option<Self>> {
        let (held, taught) = parts(texts, config);
        if held.is_empty() || taught.is_empty() {
            return Ok(None);
        }
        let _no_grad = tch::no_grad_guard();
        let mut learn = |examples: Vec<Example>| -> Result<Vec<Lesson>> {
            let mut lessons = Vec::with_capacity(examples.len());
            for examples in chunks(examples, config.texts) {
                let batch = batch(examples.iter(), original.device())?;
                let rows = head::select_rows(&objective::forward(original, &batch)?, &batch)?;
                let rows = rows.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
                progress(examples.len());
                let mut start = 0;
                for example in examples {
                    let counted = counted(&example) as i64;
                    // Not a view, which would keep what it was cut out of.
                    let hidden = rows.f_narrow(0, start, counted)?.f_mul_scalar(1.0)?;
                    start += counted;
                    lessons.push(Lesson { example, hidden });
                }
            }
            Ok(lessons)
        };
        let (held, taught) = (learn(held)?, learn(taught)?);
        let head = DenseLinear::new(original.head_weight()?.f_detach()?, None)?;
        Ok(Some(Self { held, taught, head }))
    }

    /// How many texts [`Self::new`] runs over.
    pub fn count(texts: &[Text<'_>], config: &RepairConfig) -> usize {
        let (held, taught) = parts(texts, config);
        held.len() + taught.len()
    }

    /// Takes the head to float32, so that no product casts it again: once for both, where the
    /// model still has that one.
    pub(super) fn open_head(&mut self, model: &mut Decoder) -> Result<StoredHead> {
        let stored = self.head.dense_weight()?;
        let wide = stored.f_to_kind(Kind::Float)?;
        self.head = DenseLinear::new(wide.shallow_clone(), None)?;
        let held = model.held_head_weight(stored.kind());
        let same = held.is_some_and(|held| held.data_ptr() == stored.data_ptr());
        if !same || stored.kind() == Kind::Float {
            return Ok(StoredHead(None));
        }
        put_head(model, &wide)?;
        Ok(StoredHead(Some(stored)))
    }

    /// KL(original ‖ model) in nats a counted token of the texts held out.
    pub(super) fn held_out_divergence(&self, model: &Decoder, at_once: usize) -> Result<f64> {
        let _no_grad = tch::no_grad_guard();
        let (mut sum, mut count) = (0.0, 0);
        for lessons in self.held.chunks(at_once) {
            let lessons: Vec<&Lesson> = lessons.iter().collect();
            let (batch, theirs) = together(&lessons, model.device())?;
            let ours = head::select_rows(&objective::forward(model, &batch)?, &batch)?;
            let rows = ours.size()[0];
            let step = rows_at_once(model.config().vocab_size);
            for start in (0..rows).step_by(step as usize) {
                let range = start..rows.min(start + step);
                let ours = ours.f_narrow(0, start, range.end - start)?;
                let logits = model.logits(&ours)?.f_to_kind(Kind::Float)?;
                sum += self.divergence(&logits, &theirs, range)?.f_double_value(&[])?;
            }
            count += rows;
        }
        Ok(sum / count as f64)
    }

    /// Leaves gradients of the mean divergence over some texts in the model's weights, and
    /// gives it. Logits are there for some rows at a time, [`LOGITS_BYTES`] of each model's.
    pub(super) fn teach(
        &self,
        model: &Decoder,
        lessons: &[&Lesson],
        activation_checkpointing: bool,
    ) -> Result<f64> {
        let (batch, theirs) = together(lessons, model.device())?;
        let chunk_rows = rows_at_once(model.config().vocab_size);
        let mut loss = |logits: &Tensor, rows: Range<i64>| -> limbeck_train::Result<Tensor> {
            Ok(self.divergence(logits, &theirs, rows)?.f_div_scalar(batch.weight_sum)?)
        };
        if activation_checkpointing {
            let (hidden, cut) = recompute::forward(model, &batch, None)?;
            let mean = head::backward(model, &hidden, &batch, chunk_rows, &mut loss)?;
            cut.backward()?;
            return Ok(mean);
        }
        let hidden = objective::forward(model, &batch)?;
        Ok(head::backward(model, &hidden, &batch, chunk_rows, &mut loss)?)
    }

    /// The sum over some rows of a batch.
    fn divergence(
        &self,
        logits: &Tensor,
        theirs: &Tensor,
        rows: Range<i64>,
    ) -> limbeck_model::Result<Tensor> {
        let theirs = theirs.f_narrow(0, rows.start, rows.end - rows.start)?;
        let theirs = tch::no_grad(|| self.head.forward(&theirs))?;
        Ok(DivergenceSettings::default().per_row(logits, &theirs)?.f_sum(Kind::Float)?)
    }
}

/// Bytes of memory that [`Lessons`] of these texts take, head included.
pub(super) fn bytes(original: &Decoder, texts: &[Text<'_>], config: &RepairConfig) -> u64 {
    let (held, taught) = parts(texts, config);
    let rows: usize = held.iter().chain(&taught).map(counted).sum();
    let shape = original.config();
    let width = 4 * shape.hidden_size.unsigned_abs();
    width * (rows as u64 + shape.vocab_size.unsigned_abs())
}

/// The texts that are held out, and those that the steps of a repair come to.
fn parts(texts: &[Text<'_>], config: &RepairConfig) -> (Vec<Example>, Vec<Example>) {
    let examples = texts.iter().filter_map(|text| {
        let tokens = text.tokens[..text.tokens.len().min(config.tokens)].to_vec();
        let reply = text.reply.max(1);
        let weight = |place| if place < reply { 0.0 } else { 1.0 };
        let weights: Vec<f32> = (0..tokens.len()).map(weight).collect();
        (tokens.len() > reply).then(|| Example { tokens, weights, ..Example::default() })
    });
    let (mut held, mut taught) = (Vec::new(), Vec::new());
    for (place, example) in examples.enumerate() {
        if place % HELD_OUT == 0 { held.push(example) } else { taught.push(example) }
    }
    taught.truncate(config.steps.saturating_mul(config.texts));
    (held, taught)
}

/// Tokens of a text that count.
fn counted(example: &Example) -> usize {
    example.weights.iter().filter(|&&weight| weight > 0.0).count()
}

/// Texts side by side. What pads the shorter ones stands behind all that counts, where nothing
/// attends to it.
fn batch<'a>(examples: impl Iterator<Item = &'a Example>, device: Device) -> Result<Batch> {
    Ok(Batch::new(&examples.collect::<Vec<_>>(), 0, device)?)
}

/// Texts side by side, and the hidden states of them all.
fn together(lessons: &[&Lesson], device: Device) -> Result<(Batch, Tensor)> {
    let batch = batch(lessons.iter().map(|lesson| &lesson.example), device)?;
    let hidden: Vec<&Tensor> = lessons.iter().map(|lesson| &lesson.hidden).collect();
    Ok((batch, Tensor::f_cat(&hidden, 0)?.f_to_device(device)?))
}

/// Vectors of at most so many items, in order.
fn chunks<T>(items: Vec<T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter();
    std::iter::from_fn(move || {
        let chunk: Vec<T> = items.by_ref().take(size).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

fn rows_at_once(vocab_size: i64) -> i64 {
    (LOGITS_BYTES / (4 * vocab_size)).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, decoder, sequences, tampered};
    use super::*;

    fn lessons(texts: &[Text<'_>]) -> Lessons {
        let config = RepairConfig { steps: 1, texts: 3, ..RepairConfig::default() };
        let mut seen = 0;
        let lessons = Lessons::new(&decoder(1), texts, &config, &mut |more| seen += more);
        let lessons = lessons.unwrap().unwrap();
        assert_eq!(seen, lessons.held.len() + lessons.taught.len());
        lessons
    }

    #[test]
    fn only_replies_count() {
        let model = tampered();
        let tokens: Vec<i64> = sequences().remove(0);
        let text = |length: usize, reply| Text { tokens: &tokens[..length], reply };
        // The first text is held out, and so many tokens of it count.
        let of = |held: Text<'_>| {
            let lessons = lessons(&[held, text(9, 2)]);
            let mean = lessons.held_out_divergence(&model, 4).unwrap();
            mean * lessons.held[0].hidden.size()[0] as f64
        };
        let [all, most, first] = [text(16, 1), text(16, 2), text(2, 1)].map(of);
        assert!((all - most - first).abs() < 1e-5 * all, "{all} {most} {first}");
        assert!(0.0 < first && first < all, "{first} {all}");
    }

    #[test]
    fn a_head_is_widened_once_for_both_and_put_back() {
        for tied in [true, false] {
            let config = config(tied);
            let mut model = Decoder::init(&config, 1, Device::Cpu, Kind::BFloat16).unwrap();
            model.set_compute_dtype(Kind::Float);
            let tokens: Vec<i64> = sequences().remove(0);
            let texts = [3, 5].map(|reply| Text { tokens: &tokens, reply });
            let config = RepairConfig { steps: 1, ..RepairConfig::default() };
            let lessons = Lessons::new(&model, &texts, &config, &mut |_| {}).unwrap();
            let mut lessons = lessons.unwrap();
            let before = model.head_weight().unwrap();
            let stored = lessons.open_head(&mut model).unwrap();
            let wide = model.head_weight().unwrap();
            assert_eq!((before.kind(), wide.kind()), (Kind::BFloat16, Kind::Float));
            assert_eq!(wide.data_ptr(), lessons.head.dense_weight().unwrap().data_ptr());
            assert!(lessons.held_out_divergence(&model, 2).unwrap().abs() < 1e-6);
            stored.put_back(&mut model).unwrap();
            assert_eq!(model.head_weight().unwrap().data_ptr(), before.data_ptr());
            assert_eq!(model.head_name().is_none(), tied);

            // One that the model no longer has is the lessons' alone.
            put_head(&mut model, &(before * 2.0)).unwrap();
            lessons.open_head(&mut model).unwrap().put_back(&mut model).unwrap();
            assert_eq!(model.head_weight().unwrap().kind(), Kind::BFloat16);
        }
    }

    #[test]
    fn gradients_are_the_same_however_texts_are_taken() {
        let tokens: Vec<i64> = sequences().remove(0);
        let text = |length: usize, reply| Text { tokens: &tokens[..length], reply };
        let lessons = lessons(&[text(5, 1), text(16, 9), text(4, 3), text(12, 2)]);
        let taught: Vec<&Lesson> = lessons.taught.iter().collect();
        let counts: Vec<f64> = taught.iter().map(|lesson| lesson.hidden.size()[0] as f64).collect();
        assert_eq!(counts, [7.0, 1.0, 10.0]);
        let gradients = |batches: &[&[&Lesson]], checkpointing| {
            let model = tampered();
            model.set_requires_grad(true).unwrap();
            let mut sum = 0.0;
            for lessons_of in batches {
                let count: i64 = lessons_of.iter().map(|lesson| lesson.hidden.size()[0]).sum();
                let mean = lessons.teach(&model, lessons_of, checkpointing).unwrap();
                sum += mean * count as f64;
            }
            let name = "model.layers.0.mlp.up_proj.weight";
            let found = model.named_parameters().into_iter().find(|(other, _)| other == name);
            (sum, found.unwrap().1.grad())
        };
        let (sum, expected) = gradients(&[&taught], false);
        let (again, found) = gradients(&[&taught], true);
        assert!((sum - again).abs() < 1e-6 * sum, "{sum} {again}");
        assert!((&expected - found).abs().max().double_value(&[]) < 1e-6);
        assert!(expected.abs().max().double_value(&[]) > 1e-5);
        let one_by_one: Vec<&[&Lesson]> = taught.chunks(1).collect();
        let (apart, _) = gradients(&one_by_one, false);
        assert!((sum - apart).abs() < 1e-5 * sum, "{sum} {apart}");
    }
}
