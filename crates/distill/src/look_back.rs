//! A first layer whose heads look a fixed number of tokens back from the start.
//!
//! To copy what followed an earlier occurrence of the present token, a transformer needs a
//! head that looks one token back below the head that compares (Olsson et al., "In-context
//! Learning and Induction Heads", 2022); until the first is found, the second has nothing
//! to learn from, and the loss stays on a plateau. The biases of Qwen2's query and key
//! projections can hold the first one at initialisation: with weights of zero, a query
//! bias that is the key bias rotated back by `offset` positions makes the score a function
//! of distance alone, with its peak at `offset`. Training is free to change it.

use limbeck_model::Decoder;
use tch::Tensor;

use crate::Result;

/// Length of the biases in each rotary plane. At base 10000 and width 32, the token
/// looked back to leads its neighbours by a logit of 4 and more.
const LENGTH: f64 = 5.7;

/// Makes the first query heads of the first layer look back by `offsets`, in order; the
/// key heads that they share lose their random weights. Their values, and all other heads,
/// stay as they are.
pub(crate) fn initialise(decoder: &Decoder, offsets: &[i64], rope_theta: f64) -> Result<()> {
    let _guard = tch::no_grad_guard();
    let config = decoder.config();
    let width = config.head_dim;
    let shared = config.num_attention_heads / config.num_key_value_heads;
    let half = width / 2;
    let angles: Vec<f64> =
        (0..half).map(|plane| rope_theta.powf(-(plane as f64) / half as f64)).collect();
    let parameters = decoder.named_parameters();
    let head = |projection: &str, part: &str, head: i64| -> Result<Option<Tensor>> {
        let name = format!("model.layers.0.self_attn.{projection}.{part}");
        let found = parameters.iter().find(|(known, _)| *known == name);
        Ok(found.map(|(_, tensor)| tensor.f_narrow(0, head * width, width)).transpose()?)
    };
    let set = |projection: &str, index: i64, offset: i64| -> Result<()> {
        if let Some(mut weight) = head(projection, "weight", index)? {
            let _ = weight.f_zero_()?;
        }
        if let Some(mut bias) = head(projection, "bias", index)? {
            let turn = |angle: &f64| (-angle * offset as f64).sin_cos();
            let cosines = angles.iter().map(|angle| LENGTH * turn(angle).1);
            let sines = angles.iter().map(|angle| LENGTH * turn(angle).0);
            let values: Vec<f64> = cosines.chain(sines).collect();
            bias.f_copy_(&Tensor::f_from_slice(&values)?)?;
        }
        Ok(())
    };
    for (index, &offset) in (0..).zip(offsets) {
        set("q_proj", index, offset)?;
        set("k_proj", index / shared, 0)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use limbeck_model::{Attention, Input, Taps};
    use serde_json::json;
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn a_head_looks_back_by_its_offset_and_no_further() {
        let config = json!({
            "model_type": "qwen2", "vocab_size": 64, "hidden_size": 128,
            "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "max_position_embeddings": 128, "tie_word_embeddings": true,
            "initializer_range": 0.09,
        });
        let decoder = Decoder::init(&config, 3, Device::Cpu, Kind::Float).unwrap();
        initialise(&decoder, &[1, 3], 10_000.0).unwrap();
        let _guard = tch::no_grad_guard();
        let tokens = Tensor::arange(48, (Kind::Int64, Device::Cpu)).view([1, 48]);
        let input = Input { tokens: &tokens, positions: None, attention: Attention::Causal };
        let mut taps = Taps::new(Vec::new(), vec![0]);
        let _ = decoder.forward(&input, None, Some(&mut taps)).unwrap();
        let attention = &taps.attention[&0]; // [1, heads, queries, keys]
        for (head, offset) in [(0, 1), (1, 3)] {
            for query in offset..48 {
                let seen = attention.double_value(&[0, head, query, query - offset]);
                assert!(seen > 0.8, "head {head} at {query}: {seen}");
            }
        }
        // The heads of the other key head go on looking at content.
        assert!(attention.double_value(&[0, 2, 47, 46]) < 0.8);
    }
}
