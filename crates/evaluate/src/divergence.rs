//! How far a model's distributions are from those of the model that it was made from.

use limbeck_model::{Decoder, Input};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::Result;

/// Most fp32 logits of either model held at a time (64 MiB), whatever the vocabulary.
const HELD_LOGITS: i64 = 1 << 24;

/// A token sequence of which some tokens are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The tokens.
    pub tokens: Vec<i64>,
    /// Whether the distributions that foretell each token are compared; as long as `tokens`,
    /// the first is never foretold.
    pub counted: Vec<bool>,
}

/// Distances over the tokens that were compared, in nats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Divergence {
    /// What the reference is called.
    pub reference: String,
    /// Tokens compared.
    pub tokens: u64,
    /// Mean of KL(reference ‖ model) over the tokens.
    pub mean_kl: f64,
    /// Standard error of the mean, with the sequences as clusters; `None` of one sequence.
    pub standard_error: Option<f64>,
    /// 99 of 100 tokens lie below.
    pub kl_99: f64,
    /// The highest of all tokens.
    pub max_kl: f64,
    /// Share of tokens for which both models think the same one the likeliest.
    pub top_agreement: f64,
    /// Perplexity of the reference on the tokens.
    pub reference_perplexity: f64,
    /// Perplexity of the model on the tokens.
    pub perplexity: f64,
}

impl Divergence {
    /// Compares two models of one vocabulary on sequences, one by one. `progress` hears of each.
    ///
    /// # Errors
    /// A token that a model does not have; failures of libtorch.
    pub fn measure(
        name: &str,
        reference: &Decoder,
        model: &Decoder,
        sequences: &[Compared],
        progress: &mut dyn FnMut(),
    ) -> Result<Self> {
        let _no_grad = tch::no_grad_guard();
        let mut kls = Vec::new();
        let mut sums = Vec::new();
        let (mut agreed, mut reference_loss, mut loss) = (0_u64, 0.0, 0.0);
        for sequence in sequences {
            let tokens = compare(reference, model, sequence)?;
            let sum: f64 = tokens.iter().map(|token| token.kl).sum();
            sums.push((sum, tokens.len() as f64));
            for token in tokens {
                kls.push(token.kl);
                agreed += u64::from(token.agreed);
                reference_loss += token.reference_loss;
                loss += token.loss;
            }
            progress();
        }
        let count = kls.len().max(1) as f64;
        let mean_kl = kls.iter().sum::<f64>() / count;
        kls.sort_by(f64::total_cmp);
        let place = (kls.len() * 99 / 100).min(kls.len().saturating_sub(1));
        Ok(Self {
            reference: name.to_owned(),
            tokens: kls.len() as u64,
            mean_kl,
            standard_error: standard_error(&sums, mean_kl),
            kl_99: kls.get(place).copied().unwrap_or_default(),
            max_kl: kls.last().copied().unwrap_or_default(),
            top_agreement: agreed as f64 / count,
            reference_perplexity: (reference_loss / count).exp(),
            perplexity: (loss / count).exp(),
        })
    }
}

/// Of a ratio of sums over clusters: the linearised variance (Cochran, Sampling Techniques,
/// 1977, section 6.4).
fn standard_error(clusters: &[(f64, f64)], mean: f64) -> Option<f64> {
    let n = clusters.len() as f64;
    let tokens: f64 = clusters.iter().map(|(_, count)| count).sum();
    if clusters.len() < 2 || tokens == 0.0 {
        return None;
    }
    let squares: f64 = clusters.iter().map(|(sum, count)| (sum - mean * count).powi(2)).sum();
    Some((n / (n - 1.0) * squares).sqrt() / tokens)
}

/// What is known of one token.
struct Token {
    kl: f64,
    agreed: bool,
    reference_loss: f64,
    loss: f64,
}

fn compare(reference: &Decoder, model: &Decoder, sequence: &Compared) -> Result<Vec<Token>> {
    // The distribution at a place foretells the next token.
    let places: Vec<i64> = (1..sequence.tokens.len())
        .filter(|&place| sequence.counted.get(place).copied().unwrap_or(false))
        .map(|place| place as i64 - 1)
        .collect();
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let hidden = |decoder: &Decoder| -> Result<Tensor> {
        let tokens = Tensor::f_from_slice(&sequence.tokens)?
            .f_unsqueeze(0)? // [1, seq]
            .f_to_device(decoder.device())?;
        let hidden = decoder.forward(&Input::causal(&tokens), None, None)?;
        let places = Tensor::f_from_slice(&places)?.f_to_device(decoder.device())?;
        Ok(hidden.f_squeeze_dim(0)?.f_index_select(0, &places)?) // [places, hidden]
    };
    let (of_reference, of_model) = (hidden(reference)?, hidden(model)?);
    let vocabulary = model.config().vocab_size.max(1);
    let chunk = (HELD_LOGITS / vocabulary).max(1) as usize;
    let mut compared = Vec::with_capacity(places.len());
    for (part, places) in places.chunks(chunk).enumerate() {
        let (start, length) = ((part * chunk) as i64, places.len() as i64);
        // [length, vocab], log-probabilities
        let distribution = |decoder: &Decoder, hidden: &Tensor| -> Result<Tensor> {
            let logits = decoder.logits(&hidden.f_narrow(0, start, length)?)?;
            Ok(logits.f_to_device(tch::Device::Cpu)?.f_log_softmax(-1, Kind::Float)?)
        };
        let theirs = distribution(reference, &of_reference)?;
        let ours = distribution(model, &of_model)?;
        let kl = theirs.f_exp()?.f_mul(&theirs.f_sub(&ours)?)?;
        let kl = kl.f_sum_dim_intlist([-1_i64].as_slice(), false, Kind::Double)?;
        let agreed = theirs.f_argmax(-1, false)?.f_eq_tensor(&ours.f_argmax(-1, false)?)?;
        let next: Vec<i64> =
            places.iter().map(|&place| sequence.tokens[place as usize + 1]).collect();
        let next = Tensor::f_from_slice(&next)?.f_unsqueeze(1)?; // [length, 1]
        let loss = |distribution: &Tensor| -> Result<Vec<f64>> {
            let chosen =
                distribution.f_gather(1, &next, false)?.f_neg()?.f_to_kind(Kind::Double)?;
            Ok(Vec::try_from(&chosen.f_view([-1])?)?)
        };
        let rows = Vec::<f64>::try_from(&kl)?
            .into_iter()
            .zip(Vec::<bool>::try_from(&agreed)?)
            .zip(loss(&theirs)?.into_iter().zip(loss(&ours)?));
        compared.extend(rows.map(|((kl, agreed), (reference_loss, loss))| Token {
            // Rounding may leave a trace below 0.
            kl: kl.max(0.0),
            agreed,
            reference_loss,
            loss,
        }));
    }
    Ok(compared)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tch::Device;

    use super::*;

    fn decoder(seed: u64) -> Decoder {
        let config = json!({
            "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 32,
            "initializer_range": 0.3, "intermediate_size": 48, "max_position_embeddings": 64,
            "num_attention_heads": 4, "num_hidden_layers": 1, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": true,
            "vocab_size": 40,
        });
        Decoder::init(&config, seed, Device::Cpu, Kind::Float).unwrap()
    }

    fn sequences() -> Vec<Compared> {
        (0..3)
            .map(|row| Compared {
                tokens: (0..12).map(|place| (row * 7 + place * 5) % 40).collect(),
                counted: (0..12).map(|place| place >= 4).collect(),
            })
            .collect()
    }

    #[test]
    fn a_model_does_not_diverge_from_itself() {
        let model = decoder(1);
        let same = Divergence::measure("itself", &model, &model, &sequences(), &mut || {}).unwrap();
        assert_eq!((same.tokens, same.top_agreement), (24, 1.0));
        assert!(same.max_kl < 1e-6);
        assert!((same.perplexity - same.reference_perplexity).abs() < 1e-12);
    }

    #[test]
    fn divergence_is_the_mean_over_counted_tokens() {
        let (reference, model) = (decoder(1), decoder(2));
        let found = Divergence::measure("r", &reference, &model, &sequences(), &mut || {}).unwrap();
        let mut kls = Vec::new();
        let mut losses = 0.0;
        for sequence in sequences() {
            let tokens = Tensor::from_slice(&sequence.tokens).view([1, 12]);
            let distribution = |decoder: &Decoder| {
                let hidden = decoder.forward(&Input::causal(&tokens), None, None).unwrap();
                decoder.logits(&hidden).unwrap().squeeze_dim(0).log_softmax(-1, Kind::Double)
            };
            let (theirs, ours) = (distribution(&reference), distribution(&model));
            for place in 3..11 {
                let kl = (theirs.get(place).exp() * (theirs.get(place) - ours.get(place)))
                    .sum(Kind::Double);
                kls.push(kl.double_value(&[]));
                let next = sequence.tokens[place as usize + 1];
                losses -= ours.double_value(&[place, next]);
            }
        }
        let mean = kls.iter().sum::<f64>() / kls.len() as f64;
        assert!((found.mean_kl / mean - 1.0).abs() < 1e-4, "{} {mean}", found.mean_kl);
        assert!(((losses / 24.0).exp() / found.perplexity - 1.0).abs() < 1e-4);
        let highest = kls.iter().copied().fold(0.0, f64::max);
        assert!((found.max_kl / highest - 1.0).abs() < 1e-4);
        assert!(found.standard_error.unwrap() > 0.0);
        assert!(found.top_agreement < 1.0);
    }
}
