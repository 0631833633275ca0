//! Activation checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory
//! Cost", section 4.1): the forward pass keeps only the input of each block, and the
//! backward pass runs a block again when its gradients are due.
//!
//! libtorch's bindings have no custom autograd function, so the graph is cut, as in
//! [`crate::head`]: every block's input is a leaf. Losses run backward into the leaves of
//! what they see (the last output, tapped states, tapped attention); [`Recompute::backward`]
//! then goes from the last block to the first, runs it on its leaf and continues with
//! `(output * gradient).sum()`, whose derivative by `output` is `gradient`.

use limbeck_core::seed::derive;
use limbeck_model::{Attention, Decoder, Input, Taps};
use tch::{Kind, Tensor};

use crate::{Batch, Result};

/// What is left of a forward pass: its cuts.
#[derive(Debug)]
pub struct Recompute<'a> {
    model: &'a Decoder,
    batch: &'a Batch,
    seed: u64,
    /// The embedding's output, with its graph.
    embedded: Tensor,
    blocks: Vec<Cut>,
    /// The last block's output, a leaf.
    output: Tensor,
}

/// The leaves of a block.
#[derive(Debug)]
struct Cut {
    input: Tensor,
    /// Its attention probabilities, if tapped.
    attention: Option<Tensor>,
}

/// The hidden states of a batch, `[batch, seq, hidden_size]`, whose graph ends at the last
/// block's output, and what goes on from there once the losses have run backward. Tapped
/// states and attention are leaves too.
///
/// Dropout draws from libtorch's generator, which is seeded before each block: from one
/// number that this draws from it, so that a step's seed still decides everything.
///
/// # Errors
/// Those of the model.
pub fn forward<'a>(
    model: &'a Decoder,
    batch: &'a Batch,
    mut taps: Option<&mut Taps>,
) -> Result<(Tensor, Recompute<'a>)> {
    let seed = draw_seed()?;
    let input = input(batch);
    let embedded = model.embed(&input)?;
    let mut hidden = embedded.f_detach()?.f_set_requires_grad(embedded.requires_grad())?;
    if let Some(taps) = taps.as_deref_mut() {
        taps.hidden.clear();
        taps.attention.clear();
    }
    let mut blocks = Vec::with_capacity(model.num_layers());
    for index in 0..model.num_layers() {
        offer(&mut taps, index, &hidden);
        let tapped = taps.as_ref().is_some_and(|taps| taps.want_attention.contains(&index));
        let mut attention = None;
        seed_block(seed, index);
        // Recorded, although the graph is dropped at once: dropout acts only then.
        let output =
            model.layer_forward_tapped(index, &hidden, &input, tapped.then_some(&mut attention))?;
        let output = output.f_detach()?.f_set_requires_grad(true)?;
        let attention = match attention {
            Some(attention) => Some(attention.f_detach()?.f_set_requires_grad(true)?),
            None => None,
        };
        if let (Some(taps), Some(attention)) = (taps.as_deref_mut(), &attention) {
            taps.attention.insert(index, attention.shallow_clone());
        }
        blocks.push(Cut { input: hidden, attention });
        hidden = output;
    }
    offer(&mut taps, model.num_layers(), &hidden);
    let normed = model.final_norm(&hidden)?;
    Ok((normed, Recompute { model, batch, seed, embedded, blocks, output: hidden }))
}

impl Recompute<'_> {
    /// Carries the leaves' gradients on into the parameters.
    ///
    /// # Errors
    /// Those of the model; libtorch's.
    pub fn backward(self) -> Result<()> {
        let Self { model, batch, seed, embedded, blocks, output } = self;
        let input = input(batch);
        let mut gradient = output.f_grad()?;
        drop(output);
        for (index, cut) in blocks.into_iter().enumerate().rev() {
            let of_attention = match &cut.attention {
                Some(attention) => attention.f_grad()?,
                None => Tensor::new(),
            };
            if gradient.defined() || of_attention.defined() {
                let mut attention = None;
                let tapped = of_attention.defined().then_some(&mut attention);
                seed_block(seed, index);
                let output = model.layer_forward_tapped(index, &cut.input, &input, tapped)?;
                let mut rest = Vec::new();
                if gradient.defined() {
                    rest.push(output.f_mul(&gradient)?.f_sum(Kind::Float)?);
                }
                if let Some(attention) = attention {
                    rest.push(attention.f_mul(&of_attention)?.f_sum(Kind::Float)?);
                }
                let rest = Tensor::f_stack(&rest, 0)?.f_sum(Kind::Float)?;
                // Nothing below a frozen embedding and block asks for gradients.
                if rest.requires_grad() {
                    rest.f_backward()?;
                }
            }
            gradient = cut.input.f_grad()?;
        }
        if gradient.defined() && embedded.requires_grad() {
            embedded.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
        }
        // The next micro-batch draws on, not again.
        tch::manual_seed(derive(seed, "after", 0) as i64);
        Ok(())
    }
}

fn input(batch: &Batch) -> Input<'_> {
    Input { tokens: &batch.tokens, positions: None, attention: Attention::Causal }
}

fn offer(taps: &mut Option<&mut Taps>, index: usize, hidden: &Tensor) {
    if let Some(taps) = taps.as_deref_mut().filter(|taps| taps.want_hidden.contains(&index)) {
        taps.hidden.insert(index, hidden.shallow_clone());
    }
}

/// A number from libtorch's generator.
fn draw_seed() -> Result<u64> {
    let drawn = Tensor::f_randint(1 << 53, [1].as_slice(), (Kind::Int64, tch::Device::Cpu))?;
    Ok(drawn.f_int64_value(&[0])? as u64)
}

fn seed_block(seed: u64, index: usize) {
    tch::manual_seed(derive(seed, "block", index as u64) as i64);
}

#[cfg(test)]
mod tests {
    use limbeck_core::test_device;
    use serde_json::json;

    use super::*;
    use crate::objective::forward_tapped;
    use crate::{Example, Objective, SupervisedObjective, head};

    fn model() -> Decoder {
        let config = json!({
            "model_type": "qwen2", "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
            "hidden_act": "silu", "max_position_embeddings": 128, "initializer_range": 0.1,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "use_sliding_window": false,
            "tie_word_embeddings": true,
        });
        let model = Decoder::init(&config, 7, test_device(), Kind::Float).unwrap();
        model.set_requires_grad(true).unwrap();
        model
    }

    fn batch() -> Batch {
        let examples: Vec<Example> = (0..5)
            .map(|index| Example {
                id: String::new(),
                tokens: (0..9 + index).map(|at| ((index * 31 + at * 7) % 50) as i64).collect(),
                weights: (0..9 + index).map(|at| if at > 2 { 1.0 } else { 0.0 }).collect(),
                ..Example::default()
            })
            .collect();
        Batch::new(&examples.iter().collect::<Vec<_>>(), 0, test_device()).unwrap()
    }

    fn assert_gradients_match(left: &Decoder, right: &Decoder) {
        for ((name, left), (_, right)) in
            left.named_parameters().iter().zip(right.named_parameters())
        {
            let difference = (left.grad() - right.grad()).abs().max().double_value(&[]);
            assert!(difference < 1e-6, "{name}: {difference}");
            assert!(left.grad().abs().max().double_value(&[]) > 0.0, "{name}");
        }
    }

    #[test]
    fn gradients_are_those_of_one_graph() {
        let (batch, mut objective) = (batch(), SupervisedObjective { chunk_rows: 16 });
        let (plain, cut) = (model(), model());
        let expected = objective.accumulate(&plain, &batch, batch.weight_sum).unwrap();
        let found = objective.accumulate_recomputed(&cut, &batch, batch.weight_sum).unwrap();
        assert_eq!(expected, found);
        assert_gradients_match(&plain, &cut);
    }

    #[test]
    fn tapped_states_and_attention_carry_gradients() {
        let batch = batch();
        let loss = |hidden: &Tensor, taps: &Taps| {
            let states: Tensor =
                taps.hidden.values().map(|state| state.square().mean(Kind::Float)).sum();
            let attention: Tensor =
                taps.attention.values().map(|attention| attention.square().sum(Kind::Float)).sum();
            head::select_rows(hidden, &batch).unwrap().square().mean(Kind::Float)
                + states
                + attention
        };
        let taps = || Taps::new(vec![0, 1, 3], vec![0, 2]);
        let (plain, cut) = (model(), model());
        let mut plain_taps = taps();
        let hidden = forward_tapped(&plain, &batch, Some(&mut plain_taps)).unwrap();
        loss(&hidden, &plain_taps).backward();
        let mut cut_taps = taps();
        let (hidden, rest) = forward(&cut, &batch, Some(&mut cut_taps)).unwrap();
        loss(&hidden, &cut_taps).backward();
        rest.backward().unwrap();
        assert_gradients_match(&plain, &cut);
    }

    #[test]
    fn a_frozen_bottom_stays_without_gradients() {
        let model = model();
        let (trained, frozen): (Vec<_>, Vec<_>) = model
            .named_parameters()
            .into_iter()
            .partition(|(name, _)| name.contains("layers.1.self_attn"));
        for (_, tensor) in &frozen {
            let _ = tensor.set_requires_grad(false);
        }
        let (batch, mut objective) = (batch(), SupervisedObjective { chunk_rows: 16 });
        objective.accumulate_recomputed(&model, &batch, batch.weight_sum).unwrap();
        assert!(trained.iter().all(|(_, tensor)| tensor.grad().defined()));
        assert!(frozen.iter().all(|(_, tensor)| !tensor.grad().defined()));
    }
}
