//! Min-hash signatures of word shingles, and their bands.
//!
//! Broder (1997), "On the resemblance and containment of documents". Shingles, bands and
//! threshold are datatrove's (5 words, 14 bands of 8 rows, 0.72), with one difference:
//! datatrove maps all numbers to 0, which makes one text of all problems of a template.
//! Here numbers are kept.
//!
//! Two texts of similarity `s` share a band with probability `1 - (1 - s^8)^14`: 0.65 at
//! the threshold, 0.92 at 0.8, 0.999 at 0.9, and 0.05 at 0.5. What shares a band is then
//! verified by the agreement of all 112 hashes.

use super::token::{mix, ngram_hashes};

/// Words of a shingle; a shorter text has no signature.
pub(crate) const SHINGLE: usize = 5;
/// Bands of a signature.
pub(crate) const NUM_BANDS: usize = 14;
/// Hashes of a band.
const NUM_ROWS: usize = 8;
/// Hashes of a signature.
pub(crate) const NUM_HASHES: usize = NUM_BANDS * NUM_ROWS;

/// Multiplier and offset of each hash function.
const FUNCTIONS: [(u64, u64); NUM_HASHES] = {
    let mut functions = [(0, 0); NUM_HASHES];
    let mut place = 0;
    let mut state = 0_u64;
    while place < NUM_HASHES {
        // SplitMix64; an odd multiplier loses no bit.
        let mut pair = [0_u64; 2];
        let mut half = 0;
        while half < 2 {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            pair[half] = word ^ (word >> 31);
            half += 1;
        }
        functions[place] = (pair[0] | 1, pair[1]);
        place += 1;
    }
    functions
};

/// A signature, shortened for verification: 16 bits of each hash. Two different hashes
/// agree in them once in 65536 times, far below the sampling error of 112 hashes, and a
/// signature takes 224 bytes instead of 896.
pub(crate) type Row = [u16; NUM_HASHES];

/// Bytes of a [`Row`] in a file.
pub(crate) const ROW_BYTES: usize = 2 * NUM_HASHES;

/// What the search for near-duplicates needs of a text.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    /// A hash for each band.
    pub(crate) bands: [u64; NUM_BANDS],
    /// All hashes, shortened.
    pub(crate) row: Row,
}

/// The signature of a text's token hashes; none where it is shorter than a shingle. Texts
/// of different `salt` share no band.
pub(crate) fn signature(hashes: &[u64], salt: u64) -> Option<Signature> {
    if hashes.len() < SHINGLE {
        return None;
    }
    let mut least = [u64::MAX; NUM_HASHES];
    for shingle in ngram_hashes(hashes, SHINGLE) {
        for (least, (multiplier, offset)) in least.iter_mut().zip(&FUNCTIONS) {
            let value = shingle.wrapping_mul(*multiplier).wrapping_add(*offset);
            *least = value.min(*least);
        }
    }
    let mut bands = [0; NUM_BANDS];
    for (band, rows) in bands.iter_mut().zip(least.chunks_exact(NUM_ROWS)) {
        *band = rows.iter().fold(salt, |state, hash| mix(state.rotate_left(23) ^ hash));
    }
    // The highest bits of a minimum are mostly zero, so they are passed over.
    Some(Signature { bands, row: least.map(|hash| (hash >> 24) as u16) })
}

/// Share of hashes in which two signatures agree: the estimate of the Jaccard index, with
/// a standard error of 0.042 at the threshold.
pub(crate) fn similarity(first: &Row, second: &Row) -> f64 {
    let equal = first.iter().zip(second).filter(|(first, second)| first == second).count();
    equal as f64 / NUM_HASHES as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two texts of `len` words that share about the given part of their shingles.
    fn pair(len: u64, shared: u64, key: u64) -> (Vec<u64>, Vec<u64>, f64) {
        let word = |text: u64, place: u64| mix(mix(key) ^ (text << 32) ^ place);
        let first: Vec<u64> = (0..len).map(|place| word(1, place)).collect();
        let second: Vec<u64> =
            (0..len).map(|place| word(if place < shared { 1 } else { 2 }, place)).collect();
        let shingles = len - 4;
        let common = shared.saturating_sub(4);
        (first, second, common as f64 / (2 * shingles - common) as f64)
    }

    #[test]
    fn the_estimate_is_unbiased_and_as_exact_as_its_theory() {
        for shared in [40, 70, 90, 100] {
            let (mut sum, mut squares, mut truth) = (0.0, 0.0, 0.0);
            for key in 0..200 {
                let (first, second, jaccard) = pair(100, shared, key);
                truth = jaccard;
                let first = signature(&first, 0).unwrap();
                let second = signature(&second, 0).unwrap();
                let error = similarity(&first.row, &second.row) - jaccard;
                sum += error;
                squares += error * error;
            }
            let expected = (truth * (1.0 - truth) / NUM_HASHES as f64).sqrt();
            assert!((sum / 200.0).abs() < 0.01, "bias {} at {truth}", sum / 200.0);
            let found = (squares / 200.0_f64).sqrt();
            assert!(found < 1.2 * expected + 1e-9, "error {found}, theory {expected}");
        }
    }

    #[test]
    fn bands_meet_as_often_as_the_formula_says() {
        for shared in [70, 85, 92, 97] {
            let mut met = 0;
            let mut expected = 0.0;
            for key in 0..400 {
                let (first, second, jaccard) = pair(100, shared, 1000 + key);
                let first = signature(&first, 0).unwrap();
                let second = signature(&second, 0).unwrap();
                met += usize::from(first.bands.iter().zip(&second.bands).any(|(a, b)| a == b));
                expected = 1.0 - (1.0 - jaccard.powi(8)).powi(14);
            }
            let found = met as f64 / 400.0;
            assert!((found - expected).abs() < 0.08, "{found} against {expected}");
        }
    }

    #[test]
    fn a_salt_keeps_texts_apart_and_short_ones_have_no_signature() {
        let (first, _, _) = pair(50, 50, 1);
        let bands = |salt| signature(&first, salt).unwrap().bands;
        assert!(bands(1).iter().zip(&bands(2)).all(|(a, b)| a != b));
        assert_eq!(bands(1), bands(1));
        assert!(signature(&first[..4], 0).is_none());
    }
}
