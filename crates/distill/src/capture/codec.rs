//! A record as bytes.
//!
//! Log-probabilities are rounded to multiples of `STEP` and written as differences from
//! the likelier token. Token ids are written as ranks in a table of the record's own ids,
//! the frequent ones first: the same few hundred tokens are likely all through a record.
//! Both go through an adaptive arithmetic coder. The log-mass of the tail is kept as it is.
//!
//! # Error bound
//! Rounding moves a log-probability by at most `STEP / 2`. Reading shifts all
//! log-probabilities of a position by what makes them and the tail sum to 1 again, which
//! is no more than rounding moved them: together at most `MAX_ERROR` nats. Read and true
//! distribution then differ by KL ≤ `MAX_ERROR`² / 2, about 8·10⁻⁶ nats.

use super::CapturedRecord;
use super::range_coder::{Coder, Decoder, Encoder, Number};

/// Log-probabilities are kept as multiples of this, in nats.
pub const STEP: f64 = 1.0 / 256.0;

/// By how much a log-probability that is read may differ from the teacher's, in nats. One
/// below −4096 is read as −4096.
pub const MAX_ERROR: f64 = STEP;

/// The lowest log-probability, in steps.
const FLOOR: u32 = 1 << 20;

/// Encodes a record that [`CapturedRecord::check`] let pass.
pub(super) fn encode(record: &CapturedRecord) -> Vec<u8> {
    let mut bytes = Vec::new();
    let runs = runs(&record.positions);
    push_varint(&mut bytes, runs.len() as u32);
    let mut end = 0;
    for (start, length) in runs {
        push_varint(&mut bytes, start - end);
        push_varint(&mut bytes, length);
        end = start + length;
    }
    bytes.extend(record.log_tail.iter().flat_map(|value| value.to_le_bytes()));
    let (table, counts) = id_table(&record.ids);
    let mut encoder = Encoder::new(bytes);
    code_table(&mut encoder, &mut TableModels::new(), &table, &counts);
    let mut ranks: Vec<(i32, u32)> = table.iter().zip(0..).map(|(&id, rank)| (id, rank)).collect();
    ranks.sort_unstable();
    let rank_of =
        |id: i32| ranks.binary_search_by_key(&id, |&(id, _)| id).map_or(0, |place| ranks[place].1);
    let mut models = RowModels::new();
    for (ids, log_probs) in
        record.ids.chunks(record.top_k).zip(record.log_probs.chunks(record.top_k))
    {
        let mut above = 0;
        for (place, (&id, &log_prob)) in ids.iter().zip(log_probs).enumerate() {
            let level = steps(log_prob).max(above);
            models.gap(place).code(&mut encoder, level - above);
            models.rank(place).code(&mut encoder, rank_of(id));
            above = level;
        }
    }
    encoder.finish()
}

/// Decodes a record; nothing if the bytes are not what [`encode`] makes for a record of
/// this many tokens.
pub(super) fn decode(
    bytes: &[u8],
    top_k: usize,
    num_tokens: usize,
    vocab_size: i64,
) -> Option<CapturedRecord> {
    let mut rest = bytes;
    let mut positions = Vec::new();
    let mut end = 0_u32;
    for _ in 0..take_varint(&mut rest)? {
        let start = end.checked_add(take_varint(&mut rest)?)?;
        end = start.checked_add(take_varint(&mut rest)?)?;
        if end as usize > num_tokens || end == start {
            return None;
        }
        positions.extend(start..end);
    }
    let (tails, coded) = rest.split_at_checked(positions.len() * 4)?;
    let log_tail: Vec<f32> =
        tails.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let num_values = positions.len().checked_mul(top_k)?;
    let mut decoder = Decoder::new(coded);
    let table = read_table(&mut decoder, num_values, vocab_size)?;
    let mut models = RowModels::new();
    let mut ids = Vec::with_capacity(num_values);
    let mut log_probs = Vec::with_capacity(num_values);
    let mut levels = vec![0.0; top_k];
    for &log_tail in &log_tail {
        let mut level = 0_u32;
        for (place, kept) in levels.iter_mut().enumerate() {
            level = level.checked_add(models.gap(place).code(&mut decoder, 0))?;
            *kept = -STEP * f64::from(level);
            ids.push(*table.get(models.rank(place).code(&mut decoder, 0) as usize)?);
        }
        let shift = missing_mass(&levels, log_tail);
        log_probs.extend(levels.iter().map(|level| (level + shift) as f32));
    }
    let record = CapturedRecord { positions, top_k, ids, log_probs, log_tail };
    record.check(num_tokens, vocab_size).ok().map(|()| record)
}

/// A log-probability in steps below 0.
fn steps(log_prob: f32) -> u32 {
    // The conversion saturates: −∞ becomes the floor, what rounding put above 0 becomes 0.
    FLOOR.min((f64::from(-log_prob) / STEP).round() as u32)
}

/// What to add to the log-probabilities of a position so that they and the tail sum to 1.
fn missing_mass(log_probs: &[f64], log_tail: f32) -> f64 {
    let kept: f64 = log_probs.iter().map(|value| value.exp()).sum();
    let mass = -f64::from(log_tail).exp_m1();
    let shift = (mass / kept).ln();
    // More than rounding can have done, or no number: float32's error in a mass near 0.
    if shift.abs() <= STEP / 2.0 { shift } else { 0.0 }
}

/// Ascending positions as runs of start and length.
fn runs(positions: &[u32]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &position in positions {
        match runs.last_mut() {
            Some((start, length)) if *start + *length == position => *length += 1,
            _ => runs.push((position, 1)),
        }
    }
    runs
}

/// The distinct ids, the most frequent first, and of those that are equally frequent the
/// lowest first; and how often each occurs.
fn id_table(ids: &[i32]) -> (Vec<i32>, Vec<u32>) {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    let mut counted: Vec<(u32, i32)> =
        sorted.chunk_by(|a, b| a == b).map(|equal| (equal.len() as u32, equal[0])).collect();
    counted.sort_unstable_by_key(|&(count, id)| (std::cmp::Reverse(count), id));
    (counted.iter().map(|&(_, id)| id).collect(), counted.iter().map(|&(count, _)| count).collect())
}

struct TableModels {
    sizes: Number,
    counts: Number,
    gaps: Vec<Number>,
}

impl TableModels {
    fn new() -> Self {
        Self { sizes: Number::new(2), counts: Number::new(2), gaps: vec![Number::new(3); 4] }
    }

    /// Rare ids lie closer together.
    fn gap(&mut self, count: u32) -> &mut Number {
        &mut self.gaps[(count.clamp(1, 4) - 1) as usize]
    }
}

/// The table as classes of equally frequent ids: frequency, size, ids as gaps.
fn code_table(encoder: &mut Encoder, models: &mut TableModels, table: &[i32], counts: &[u32]) {
    models.sizes.code(encoder, table.len() as u32);
    let mut start = 0;
    for class in counts.chunk_by(|a, b| a == b) {
        models.sizes.code(encoder, class.len() as u32);
        models.counts.code(encoder, class[0]);
        let mut next = 0;
        for &id in &table[start..start + class.len()] {
            models.gap(class[0]).code(encoder, id as u32 - next);
            next = id as u32 + 1;
        }
        start += class.len();
    }
}

fn read_table(decoder: &mut impl Coder, most: usize, vocab_size: i64) -> Option<Vec<i32>> {
    let mut models = TableModels::new();
    let size = models.sizes.code(decoder, 0) as usize;
    if size > most {
        return None;
    }
    let mut table = Vec::with_capacity(size);
    while table.len() < size {
        let class = models.sizes.code(decoder, 0);
        let count = models.counts.code(decoder, 0);
        if class == 0 || class as usize > size - table.len() {
            return None;
        }
        let mut next = 0_i64;
        for _ in 0..class {
            let id = next + i64::from(models.gap(count).code(decoder, 0));
            if id >= vocab_size {
                return None;
            }
            table.push(i32::try_from(id).ok()?);
            next = id + 1;
        }
    }
    Some(table)
}

/// What is known of a token by its place in the row: the first is often certain and
/// often the same, those far down are close to each other.
struct RowModels {
    gaps: Vec<Number>,
    ranks: Vec<Number>,
}

impl RowModels {
    fn new() -> Self {
        Self { gaps: vec![Number::new(2); 16], ranks: vec![Number::new(4); 8] }
    }

    fn gap(&mut self, place: usize) -> &mut Number {
        &mut self.gaps[if place < 8 { place } else { (7 + place / 8).min(15) }]
    }

    fn rank(&mut self, place: usize) -> &mut Number {
        &mut self.ranks[if place < 3 { place } else { (3 + place / 12).min(7) }]
    }
}

/// LEB128.
fn push_varint(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for place in 0..5 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7F).checked_shl(7 * place)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;

    const VOCAB: i64 = 300;

    /// A teacher's rows over `VOCAB` tokens: from certain to nearly even.
    fn record(rng: &mut CounterRng, num_positions: u32, top_k: usize) -> CapturedRecord {
        let mut record = CapturedRecord {
            positions: (0..num_positions).map(|place| 3 + place + place / 4).collect(),
            top_k,
            ids: Vec::new(),
            log_probs: Vec::new(),
            log_tail: Vec::new(),
        };
        for _ in 0..num_positions {
            let scale = 0.1 + 20.0 * rng.next_f64();
            let mut logits: Vec<(f64, i32)> =
                (0..VOCAB as i32).map(|id| (scale * rng.next_f64(), id)).collect();
            logits.sort_by(|a, b| b.0.total_cmp(&a.0));
            let total: f64 = logits.iter().map(|(logit, _)| logit.exp()).sum();
            let rest: f64 = logits[top_k..].iter().map(|(logit, _)| logit.exp()).sum();
            for (logit, id) in &logits[..top_k] {
                record.ids.push(*id);
                record.log_probs.push((logit - total.ln()) as f32);
            }
            record.log_tail.push((rest / total).ln() as f32);
        }
        record
    }

    fn read(bytes: &[u8], top_k: usize) -> Option<CapturedRecord> {
        decode(bytes, top_k, 1000, VOCAB)
    }

    #[test]
    fn a_record_comes_back_within_the_bound_and_sums_to_one() {
        let mut rng = CounterRng::new(1);
        for top_k in [1, 2, 50, 299, 300] {
            for num_positions in [0, 1, 40] {
                let record = record(&mut rng, num_positions, top_k);
                let found = read(&encode(&record), top_k).unwrap();
                assert_eq!(found.positions, record.positions);
                assert_eq!(found.ids, record.ids);
                assert_eq!(found.log_tail, record.log_tail, "kept as it is");
                for (found, written) in found.log_probs.iter().zip(&record.log_probs) {
                    let error = f64::from((found - written).abs());
                    assert!(error <= MAX_ERROR + 1e-5, "{written} came back as {found}");
                }
                for (row, tail) in found.log_probs.chunks(top_k).zip(&found.log_tail) {
                    let kept: f64 = row.iter().map(|value| f64::from(*value).exp()).sum();
                    let sum = kept + f64::from(*tail).exp();
                    assert!((sum - 1.0).abs() < 1e-5, "top {top_k}: {sum}");
                }
            }
        }
    }

    #[test]
    fn the_divergence_of_what_is_read_is_below_its_bound() {
        let mut rng = CounterRng::new(4);
        let record = record(&mut rng, 200, 50);
        let found = read(&encode(&record), 50).unwrap();
        for (row, (true_row, tail)) in
            found.log_probs.chunks(50).zip(record.log_probs.chunks(50).zip(&record.log_tail))
        {
            // The tail is the same on both sides and adds nothing.
            let terms = row.iter().zip(true_row).map(|(read, written)| {
                f64::from(*written).exp() * (f64::from(*written) - f64::from(*read))
            });
            let divergence: f64 = terms.sum();
            assert!(divergence.abs() <= MAX_ERROR * MAX_ERROR / 2.0 + 1e-6, "{divergence} {tail}");
        }
    }

    #[test]
    fn a_token_that_cannot_come_has_the_floor() {
        let record = CapturedRecord {
            positions: vec![0],
            top_k: 2,
            ids: vec![7, 3],
            log_probs: vec![0.0, f32::NEG_INFINITY],
            log_tail: vec![f32::NEG_INFINITY],
        };
        let found = read(&encode(&record), 2).unwrap();
        assert_eq!(found.log_probs, [0.0, -4096.0]);
        assert_eq!(found.log_tail, record.log_tail);
    }

    #[test]
    fn whatever_the_bytes_are_decoding_ends_without_a_panic() {
        let mut rng = CounterRng::new(2);
        for round in 0..2000 {
            let mut bytes = encode(&record(&mut rng, 5, 20));
            if round % 2 == 0 {
                for _ in 0..=rng.below(8) {
                    let place = rng.below(bytes.len());
                    bytes[place] ^= 1 << rng.below(8);
                }
            } else {
                bytes = (0..rng.below(80)).map(|_| rng.next_u64() as u8).collect();
            }
            if let Some(found) = read(&bytes, 20) {
                found.check(1000, VOCAB).unwrap();
            }
        }
    }
}
