//! Rows of activations in 8 bits.

use limbeck_core::lanes::{Instructions, Kernel, LANES, Lanes};

use super::tiled::TiledMatrix;

/// Activations that share a scale; the blocks of a group that they do not divide are groups. Of
/// 128, they cost three times the divergence and save no time.
const BLOCK: usize = 32;
/// The largest code; −128 is not used.
const LARGEST: f32 = 127.0;

/// `M` rows in blocks of whole numbers from −127 to 127, each block with the scale that makes
/// its largest one 127.
pub(super) struct RoundedRows<const M: usize> {
    /// `[in / 4]`: the bytes that a word's products take at a time
    pub(super) fours: Vec<[[i8; 4]; M]>,
    /// `[blocks]`; NaN where an activation is not finite
    pub(super) scales: Vec<[f32; M]>,
    /// `[blocks]`: sums of a block's codes
    pub(super) sums: Vec<[i32; M]>,
}

/// Activations of a block for products with this matrix.
pub(super) fn block_size(matrix: &TiledMatrix) -> usize {
    let group = matrix.group_size;
    if group > BLOCK && group.is_multiple_of(BLOCK) { BLOCK } else { group }
}

impl<const M: usize> RoundedRows<M> {
    /// Rounds up to `M` rows `[rows, in]`; those that are missing are zeros.
    pub(super) fn new(matrix: &TiledMatrix, instructions: Instructions, rows: &[f32]) -> Self {
        let blocks = matrix.in_features / block_size(matrix);
        let mut rounded = Self {
            fours: vec![[[0; 4]; M]; matrix.in_features / 4],
            scales: vec![[0.0; M]; blocks],
            sums: vec![[0; M]; blocks],
        };
        instructions.run(Rounding { matrix, rows, rounded: &mut rounded });
        rounded
    }
}

struct Rounding<'a, const M: usize> {
    matrix: &'a TiledMatrix,
    rows: &'a [f32],
    rounded: &'a mut RoundedRows<M>,
}

impl<const M: usize> Kernel for Rounding<'_, M> {
    type Output = ();

    #[expect(clippy::inline_always, reason = "compiled anew for each set of instructions")]
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let matrix = self.matrix;
        let block_size = block_size(matrix);
        let mut gathered = Vec::new();
        let mut codes = vec![0_i8; block_size];
        for (row, values) in self.rows.chunks(matrix.in_features.max(1)).enumerate() {
            let values = match &matrix.order {
                None => values,
                Some(order) => {
                    gathered.clear();
                    gathered.extend(order.iter().map(|&feature| values[feature as usize]));
                    &gathered
                }
            };
            for (block, values) in values.chunks_exact(block_size).enumerate() {
                let (scale, sum) = round(values, &mut codes);
                self.rounded.scales[block][row] = scale;
                self.rounded.sums[block][row] = sum;
                let fours = &mut self.rounded.fours[block * block_size / 4..];
                if matrix.codes_per_word() == 8 {
                    // A word's bytes hold two codes each, at even and at odd places.
                    for (pair, c) in fours.chunks_exact_mut(2).zip(codes.as_chunks::<8>().0) {
                        pair[0][row] = [c[0], c[2], c[4], c[6]];
                        pair[1][row] = [c[1], c[3], c[5], c[7]];
                    }
                } else {
                    for (four, codes) in fours.iter_mut().zip(codes.as_chunks::<4>().0) {
                        four[row] = *codes;
                    }
                }
            }
        }
    }
}

/// Rounds a block; its scale and the sum of its codes.
#[inline(always)]
fn round(values: &[f32], codes: &mut [i8]) -> (f32, i32) {
    // Adding 1.5·2²³ leaves the nearest whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let (mut largest, mut nothing) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    for values in values.chunks(LANES) {
        for ((largest, nothing), value) in largest.iter_mut().zip(&mut nothing).zip(values) {
            *largest = largest.max(value.abs());
            *nothing += value * 0.0;
        }
    }
    let largest = largest.into_iter().fold(0.0, f32::max);
    if nothing.iter().any(|nothing| nothing.is_nan()) {
        codes.fill(0);
        return (f32::NAN, 0);
    }
    // Below, the inverse may be no number, and the products are nothing.
    let inverse = if largest > 1e-30 { LARGEST / largest } else { 0.0 };
    let mut sum = 0;
    for (code, value) in codes.iter_mut().zip(values) {
        *code = (value * inverse + ROUND).to_bits() as i8;
        sum += i32::from(*code);
    }
    (largest / LARGEST, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_rounded_to_the_nearest() {
        let values: Vec<f32> = (0..37).map(|index| (index as f32 - 12.3) * 0.37).collect();
        let mut codes = vec![0; 37];
        let (scale, sum) = round(&values, &mut codes);
        assert_eq!(codes[36], 127);
        assert_eq!(sum, codes.iter().map(|&code| i32::from(code)).sum::<i32>());
        for (value, &code) in values.iter().zip(&codes) {
            assert!((value - f32::from(code) * scale).abs() <= scale * 0.5001, "{value} {code}");
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let mut codes = vec![1; 20];
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = [0.5; 20];
            values[17] = bad;
            let (scale, sum) = round(&values, &mut codes);
            assert!(scale.is_nan() && sum == 0 && codes.iter().all(|&code| code == 0));
        }
        for nothing in [0.0, 1e-40] {
            let (scale, sum) = round(&[nothing; 20], &mut codes);
            assert!(scale < 1e-30 && sum == 0, "{scale} {sum}");
        }
    }
}
