//! Log-probabilities of the model's own distribution, before anything changes it.

/// How likely a token was, and what was likelier.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token.
    pub token: i64,
    /// Its natural log-probability.
    pub logprob: f32,
    /// 1 for the most likely token: one more than tokens are likelier.
    pub rank: usize,
    /// The most likely tokens with theirs, the most likely first, of equal ones the lower id.
    /// The token itself is among them only if it is that likely; its number is the same then.
    pub top: Vec<(i64, f32)>,
}

/// Above this many top tokens all are sorted.
const MOST_INSERTED: usize = 128;

/// Of a token after fp32 logits `[vocab]`, with the `num_top` most likely tokens. `None` if the
/// logits hold NaN or no finite maximum.
pub(crate) fn token_logprobs(logits: &[f32], token: i64, num_top: usize) -> Option<TokenLogprobs> {
    let chosen = *logits.get(usize::try_from(token).ok()?)?;
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
    let normaliser = f64::from(highest) + sum.ln();
    if !normaliser.is_finite() {
        return None;
    }
    let logprob = |logit: f32| (f64::from(logit) - normaliser) as f32;
    let rank = 1 + logits.iter().filter(|&&logit| logit > chosen).count();
    let top = top(logits, num_top.min(logits.len()));
    let top = top.into_iter().map(|(token, logit)| (token as i64, logprob(logit))).collect();
    Some(TokenLogprobs { token, logprob: logprob(chosen), rank, top })
}

/// The highest numbers with their places, the highest first, of equal ones the first.
fn top(numbers: &[f32], count: usize) -> Vec<(usize, f32)> {
    let numbered = numbers.iter().copied().enumerate();
    if count > MOST_INSERTED {
        let mut all: Vec<(usize, f32)> = numbered.collect();
        all.sort_by(|left, right| right.1.total_cmp(&left.1));
        all.truncate(count);
        return all;
    }
    let mut top: Vec<(usize, f32)> = Vec::with_capacity(count + 1);
    for (place, number) in numbered {
        let full = top.len() == count;
        if full && top.last().is_none_or(|last| number <= last.1) {
            continue;
        }
        let rank = top.partition_point(|other| other.1 >= number);
        top.insert(rank, (place, number));
        top.truncate(count);
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logprobs_are_the_log_softmax() {
        let logits = [1.0, 3.0, 2.0, 3.0];
        let found = token_logprobs(&logits, 2, 3).unwrap();
        // log(e^2 / (e + e^3 + e^2 + e^3))
        assert!((found.logprob - -1.917_576).abs() < 1e-4, "{found:?}");
        assert_eq!((found.token, found.rank), (2, 3));
        let ids: Vec<i64> = found.top.iter().map(|entry| entry.0).collect();
        assert_eq!(ids, [1, 3, 2]);
        assert_eq!(found.top[2].1.to_bits(), found.logprob.to_bits());
        assert_eq!(found.top[0].1.to_bits(), found.top[1].1.to_bits());
        assert!(token_logprobs(&logits, 1, 0).unwrap().top.is_empty());
        assert_eq!(token_logprobs(&logits, 1, 9).unwrap().top.len(), 4);
    }

    #[test]
    fn many_top_tokens_are_the_first_of_all() {
        let logits: Vec<f32> = (0..500).map(|place| (place as f32 * 0.37).sin()).collect();
        let (few, many) = (top(&logits, MOST_INSERTED), top(&logits, MOST_INSERTED + 1));
        assert_eq!(few, many[..MOST_INSERTED]);
        assert_eq!(many.len(), MOST_INSERTED + 1);
    }

    #[test]
    fn what_is_not_finite_has_none() {
        assert_eq!(token_logprobs(&[0.0, f32::NAN], 0, 1), None);
        assert_eq!(token_logprobs(&[f32::NEG_INFINITY; 2], 0, 1), None);
        assert_eq!(token_logprobs(&[0.0, f32::INFINITY], 0, 1), None);
        let masked = token_logprobs(&[0.0, f32::NEG_INFINITY], 1, 0).unwrap();
        assert_eq!((masked.logprob, masked.rank), (f32::NEG_INFINITY, 2));
    }
}
