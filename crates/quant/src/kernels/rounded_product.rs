//! `y = x Wᵀ` with a [`TiledMatrix`] and x in 8 bits.
//!
//! Sums of a block are of whole numbers, four products an instruction; what is rounded is only
//! x, to 1/254 of the largest number of its block of a row. A row's result does not depend on
//! the rows beside it.

use limbeck_core::lanes::Instructions;
use limbeck_core::team;

use super::LANES;
use super::byte_lanes::ByteLanes;
use super::product::{AHEAD, ROWS};
use super::rounded_rows::{RoundedRows, block_size};
use super::tiled::{ScaleBits, TiledMatrix, Words};
use crate::bits::Bits;

impl TiledMatrix {
    /// As [`Self::product`], of inputs that are rounded to 8 bits first.
    pub fn rounded_product(&self, input: &[f32], output: &mut [f32]) {
        self.rounded_product_with(Instructions::best(), input, output);
    }

    /// As [`Self::rounded_product`], with these instructions, which the processor must have.
    ///
    /// # Panics
    /// Where it has not.
    pub fn rounded_product_with(
        &self,
        instructions: Instructions,
        input: &[f32],
        output: &mut [f32],
    ) {
        assert!(Instructions::available().contains(&instructions), "{instructions:?} is missing");
        let (width, outputs) = (self.in_features.max(1), self.out_features.max(1));
        // All whole chunks of rows are one piece of work: a tile is read once for all of them.
        let whole = input.len() / width / ROWS * ROWS;
        let (input, input_rest) = input.split_at(whole * width);
        let (output, output_rest) = output.split_at_mut(whole * outputs);
        self.rounded_rows::<ROWS>(instructions, input, output);
        let (input, output) = (input_rest, output_rest);
        match input.len() / width {
            0 => {}
            1 => self.rounded_rows::<1>(instructions, input, output),
            2 => self.rounded_rows::<2>(instructions, input, output),
            3 | 4 => self.rounded_rows::<4>(instructions, input, output),
            5..=8 => self.rounded_rows::<8>(instructions, input, output),
            _ => self.rounded_rows::<ROWS>(instructions, input, output),
        }
    }

    /// Rows, `M` at a time.
    fn rounded_rows<const M: usize>(
        &self,
        instructions: Instructions,
        input: &[f32],
        output: &mut [f32],
    ) {
        let chunks: Vec<&[f32]> = input.chunks(M * self.in_features.max(1)).collect();
        let rounded = team::map(chunks.len(), &|chunk| {
            RoundedRows::<M>::new(self, instructions, chunks[chunk])
        });
        let way = Way::of(instructions);
        self.for_tiles(output, &|first, output| {
            let columns = output.first().map_or(0, |output| output.len());
            for (tile, start) in (first..).zip((0..columns).step_by(LANES)) {
                let end = columns.min(start + LANES);
                for (rows, output) in rounded.iter().zip(output.chunks_mut(M)) {
                    let mut sums = [[0.0; LANES]; M];
                    Pass { matrix: self, rows }.sum_tile_in(way, tile, &mut sums);
                    for (output, sums) in output.iter_mut().zip(&sums) {
                        output[start..end].copy_from_slice(&sums[..end - start]);
                    }
                }
            }
        });
    }
}

/// The instructions for products of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Vnni,
}

impl Way {
    /// The best within a set that the processor has.
    fn of(instructions: Instructions) -> Self {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 if is_x86_feature_detected!("avx512vnni") => Self::Vnni,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 | Instructions::Avx2 => Self::Avx2,
            _ => Self::Portable,
        }
    }
}

/// What all tiles share.
struct Pass<'a, const M: usize> {
    matrix: &'a TiledMatrix,
    rows: &'a RoundedRows<M>,
}

impl<const M: usize> Pass<'_, M> {
    fn sum_tile_in(&self, way: Way, tile: usize, sums: &mut [[f32; LANES]; M]) {
        match way {
            // SAFETY: the processor has the instructions, as `Way::of` made sure.
            #[cfg(target_arch = "x86_64")]
            Way::Vnni => unsafe { tile_vnni(self, tile, sums) },
            // SAFETY: likewise.
            #[cfg(target_arch = "x86_64")]
            Way::Avx2 => unsafe { tile_avx2(self, tile, sums) },
            Way::Portable => sum_tile::<[f32; LANES], M>(self, tile, sums),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni,avx2,fma,f16c")]
fn tile_vnni<const M: usize>(pass: &Pass<'_, M>, tile: usize, sums: &mut [[f32; LANES]; M]) {
    sum_tile::<limbeck_core::lanes::Wide, M>(pass, tile, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn tile_avx2<const M: usize>(pass: &Pass<'_, M>, tile: usize, sums: &mut [[f32; LANES]; M]) {
    sum_tile::<limbeck_core::lanes::Pair, M>(pass, tile, sums);
}

#[expect(clippy::inline_always, reason = "compiled anew for each set of instructions")]
#[inline(always)]
fn sum_tile<L: ByteLanes, const M: usize>(
    pass: &Pass<'_, M>,
    tile: usize,
    sums: &mut [[f32; LANES]; M],
) {
    match (pass.matrix.bits, M) {
        // One row has too few sums of its own to hide the latency of a product.
        (Bits::Eight, 1) => sum_codes::<L, M, 4, 4>(pass, tile, sums),
        (Bits::Eight, _) => sum_codes::<L, M, 4, 1>(pass, tile, sums),
        (_, 1) => sum_codes::<L, M, 8, 4>(pass, tile, sums),
        (_, _) => sum_codes::<L, M, 8, 1>(pass, tile, sums),
    }
}

/// The sums of a tile. `PER_WORD` codes lie in a word; each row has `CHAINS` partial sums.
#[expect(clippy::inline_always, reason = "compiled anew for each set of instructions")]
#[inline(always)]
fn sum_codes<L: ByteLanes, const M: usize, const PER_WORD: usize, const CHAINS: usize>(
    pass: &Pass<'_, M>,
    tile: usize,
    sums: &mut [[f32; LANES]; M],
) {
    let matrix = pass.matrix;
    let groups = matrix.num_groups();
    let block_size = block_size(matrix);
    let blocks_per_group = matrix.group_size / block_size;
    let per_block = block_size / PER_WORD;
    let blocks = groups * blocks_per_group;
    let words = &matrix.words[tile * blocks * per_block..(tile + 1) * blocks * per_block];
    let fours = pass.rows.fours.chunks_exact(block_size / 4);
    let mut totals = [L::zero(); M];
    for (block, (words, fours)) in words.chunks_exact(per_block).zip(fours).enumerate() {
        let group = tile * groups + block / blocks_per_group;
        let scale = match matrix.scale_bits {
            ScaleBits::Float16 => L::halves(&matrix.scales[group]),
            ScaleBits::BFloat16 => L::brains(&matrix.scales[group]),
        };
        let mut partial = [[L::same(0); CHAINS]; M];
        match &matrix.zeros {
            None => {
                let middle = if PER_WORD == 4 { 128 } else { 8 };
                for (chains, sum) in partial.iter_mut().zip(&pass.rows.sums[block]) {
                    chains[0] = L::same(-middle * sum);
                }
            }
            Some(zeros) => {
                let lift = i32::from(matrix.lift());
                let zeros = zeros[group].map(|zero| i32::from(zero) + lift);
                for (chains, &sum) in partial.iter_mut().zip(&pass.rows.sums[block]) {
                    chains[0] = L::without_zeros(&zeros, sum);
                }
            }
        }
        sum_block::<L, M, PER_WORD, CHAINS>(words, fours, &mut partial);
        let scales = &pass.rows.scales[block];
        for (row, (total, chains)) in totals.iter_mut().zip(&partial).enumerate() {
            let mut sum = chains[0];
            for &chain in &chains[1..] {
                sum = L::add_sums(sum, chain);
            }
            *total = total.add_product(L::numbers(sum).scale(scales[row]), scale);
        }
    }
    for (sum, total) in sums.iter_mut().zip(totals) {
        total.store(sum);
    }
}

#[expect(clippy::inline_always, reason = "compiled anew for each set of instructions")]
#[inline(always)]
fn sum_block<L: ByteLanes, const M: usize, const PER_WORD: usize, const CHAINS: usize>(
    words: &[Words],
    fours: &[[[i8; 4]; M]],
    partial: &mut [[L::Sums; CHAINS]; M],
) {
    for (index, words) in words.iter().enumerate() {
        L::prefetch(std::ptr::from_ref(words).wrapping_add(AHEAD));
        let words = L::load(words);
        if PER_WORD == 4 {
            let four = &fours[index];
            for row in 0..M {
                let chain = &mut partial[row][index % CHAINS];
                *chain = L::add_products::<false>(*chain, words, four[row]);
            }
        } else {
            for (place, codes) in
                [L::even_nibbles(words), L::odd_nibbles(words)].into_iter().enumerate()
            {
                let four = &fours[2 * index + place];
                for row in 0..M {
                    let chain = &mut partial[row][(2 * index + place) % CHAINS];
                    *chain = L::add_products::<true>(*chain, codes, four[row]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;
    use crate::kernels::product::tests::weights;

    /// Rounds as the kernel is to, in the plainest way: a scale for each block of places.
    fn rounded(matrix: &TiledMatrix, row: &[f32]) -> Vec<f64> {
        let place = |place: usize| match &matrix.order {
            None => place,
            Some(order) => order[place] as usize,
        };
        let places: Vec<usize> = (0..row.len()).map(place).collect();
        let mut rounded = vec![0.0; row.len()];
        for block in places.chunks(block_size(matrix)) {
            let largest = block.iter().map(|&place| row[place].abs()).fold(0.0, f32::max);
            let scale = f64::from(largest) / 127.0;
            for &place in block {
                rounded[place] = (f64::from(row[place]) / scale).round() * scale;
            }
        }
        rounded
    }

    #[test]
    fn products_are_those_of_rounded_rows_and_the_dequantised_weight() {
        let mut rng = CounterRng::new(10);
        for weight in weights() {
            let tiled = TiledMatrix::new(&weight).unwrap();
            let dense = weight.dequantize();
            for rows in [1, 2, 3, 5, 16, 35] {
                let input = rng.normals(rows * 128);
                let expected: Vec<f64> = (0..rows * 37)
                    .map(|index| {
                        let input = rounded(&tiled, &input[index / 37 * 128..][..128]);
                        let weights = &dense.values()[index % 37 * 128..][..128];
                        input.iter().zip(weights).map(|(x, w)| x * f64::from(*w)).sum()
                    })
                    .collect();
                for instructions in Instructions::available() {
                    let mut output = vec![f32::NAN; rows * 37];
                    tiled.rounded_product_with(instructions, &input, &mut output);
                    for (found, expected) in output.iter().zip(&expected) {
                        let error = (f64::from(*found) - expected).abs();
                        assert!(
                            error < 2e-4,
                            "{instructions:?} {:?} {rows} rows: {found} {expected}",
                            weight.bits()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_bit_by_bit_whatever_lies_beside_it() {
        let input = CounterRng::new(3).normals(35 * 128);
        for weight in weights() {
            let tiled = TiledMatrix::new(&weight).unwrap();
            for instructions in Instructions::available() {
                let mut together = vec![0.0; 35 * 37];
                tiled.rounded_product_with(instructions, &input, &mut together);
                for (row, together) in input.chunks(128).zip(together.chunks(37)) {
                    let mut alone = vec![0.0; 37];
                    tiled.rounded_product_with(instructions, row, &mut alone);
                    assert_eq!(alone, together, "{instructions:?}");
                }
            }
        }
    }

    #[test]
    fn the_largest_codes_do_not_overflow() {
        for weight in weights() {
            let tiled = TiledMatrix::new(&weight).unwrap();
            for sign in [1.0, -1.0] {
                let input = vec![sign; 128];
                let mut expected = vec![0.0; 37];
                tiled.product_with(Instructions::Portable, &input, &mut expected);
                for instructions in Instructions::available() {
                    let mut output = vec![0.0; 37];
                    tiled.rounded_product_with(instructions, &input, &mut output);
                    for (found, expected) in output.iter().zip(&expected) {
                        assert!((found - expected).abs() < 1e-3, "{found} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_is_seen_in_every_output() {
        let tiled = TiledMatrix::new(&weights()[0]).unwrap();
        let mut input = vec![1.0; 128];
        input[77] = f32::NAN;
        let mut output = vec![0.0; 37];
        tiled.rounded_product(&input, &mut output);
        assert!(output.iter().all(|value| value.is_nan()));
    }
}
