//! `y = x Wᵀ` with a [`TiledMatrix`].
//!
//! The time of one row is that of reading the codes; of many rows, that of the fused products:
//! of [`ROWS`] rows at once the codes are made numbers once, and sums stay in registers.

use std::sync::Mutex;

use limbeck_core::lanes::Instructions;
use limbeck_core::team;

use super::LANES;
use super::code_lanes::CodeLanes;
use super::tiled::{ScaleBits, TiledMatrix, Words};
use crate::bits::Bits;

/// Most rows that share a pass over the codes.
pub(super) const ROWS: usize = 16;
/// Words fetched before they are needed.
pub(super) const AHEAD: usize = 64;
/// Codes that a task of a thread reads at least: less is not worth handing over.
const TASK_CODES: usize = 1 << 15;
/// Tasks that a product is cut into at most: so many keep threads busy to its end, and each has
/// its list of rows.
const TASKS: usize = 96;

impl TiledMatrix {
    /// The product of some rows with the matrix, without bias.
    ///
    /// # Shapes
    /// `input` `[rows, in]` → `output` `[rows, out]`.
    pub fn product(&self, input: &[f32], output: &mut [f32]) {
        self.product_with(Instructions::best(), input, output);
    }

    /// As [`Self::product`], with these instructions, which the processor must have.
    ///
    /// # Panics
    /// Where it has not.
    pub fn product_with(&self, instructions: Instructions, input: &[f32], output: &mut [f32]) {
        assert!(Instructions::available().contains(&instructions), "{instructions:?} is missing");
        let (width, outputs) = (self.in_features.max(1), self.out_features.max(1));
        // As many sums as the registers hold.
        let most = if instructions == Instructions::Avx512 { ROWS } else { ROWS / 4 };
        for (input, output) in input.chunks(most * width).zip(output.chunks_mut(most * outputs)) {
            match input.len() / width {
                1 => self.rows::<1>(instructions, input, output),
                2 => self.rows::<2>(instructions, input, output),
                3 | 4 => self.rows::<4>(instructions, input, output),
                5..=8 => self.rows::<8>(instructions, input, output),
                _ => self.rows::<ROWS>(instructions, input, output),
            }
        }
    }

    /// Up to `M` rows.
    fn rows<const M: usize>(&self, instructions: Instructions, input: &[f32], output: &mut [f32]) {
        let arranged;
        let columns = match (&self.order, input.as_chunks::<M>()) {
            // One row is its columns.
            (None, (columns, [])) if M == 1 => columns,
            _ => {
                arranged = self.columns::<M>(input);
                arranged.as_slice()
            }
        };
        let sums: Vec<[f32; M]> = match self.zeros {
            None => Vec::new(),
            Some(_) => columns.chunks(self.group_size).map(total).collect(),
        };
        let pass = Pass { matrix: self, columns, sums: &sums };
        self.for_tiles(output, &|tile, part| pass.run(instructions, tile, part));
    }

    /// Hands the outputs over, tiles by tiles, on several threads: the first tile's number and
    /// the same columns of each row.
    pub(super) fn for_tiles(
        &self,
        output: &mut [f32],
        work: &(dyn Fn(usize, &mut [&mut [f32]]) + Sync),
    ) {
        let outputs = self.out_features.max(1);
        let rows = output.len() / outputs;
        let worthwhile = TASK_CODES.div_ceil(self.in_features.max(1) * LANES);
        let tiles_per_task = outputs.div_ceil(LANES).div_ceil(TASKS).max(worthwhile).max(1);
        // Nobody waits for a lock: a part is one task's.
        let columns_per_task = tiles_per_task * LANES;
        let tasks = outputs.div_ceil(columns_per_task);
        let mut parts: Vec<Vec<&mut [f32]>> =
            (0..tasks).map(|_| Vec::with_capacity(rows)).collect();
        for output in output.chunks_mut(outputs) {
            for (part, columns) in parts.iter_mut().zip(output.chunks_mut(columns_per_task)) {
                part.push(columns);
            }
        }
        let parts: Vec<_> = parts.into_iter().map(Mutex::new).collect();
        team::for_each(tasks, &|task| {
            if let Ok(mut part) = parts[task].lock() {
                work(task * tiles_per_task, &mut part);
            }
        });
    }
}

impl TiledMatrix {
    /// The rows place by place, so that the numbers of a place lie beside each other.
    fn columns<const M: usize>(&self, input: &[f32]) -> Vec<[f32; M]> {
        let width = self.in_features;
        let mut columns = vec![[0.0; M]; width];
        for (row, input) in input.chunks(width).enumerate() {
            match &self.order {
                None => {
                    for (column, &value) in columns.iter_mut().zip(input) {
                        column[row] = value;
                    }
                }
                Some(order) => {
                    for (column, &feature) in columns.iter_mut().zip(order) {
                        column[row] = input[feature as usize];
                    }
                }
            }
        }
        columns
    }
}

fn total<const M: usize>(columns: &[[f32; M]]) -> [f32; M] {
    let mut sums = [0.0; M];
    for column in columns {
        for (sum, value) in sums.iter_mut().zip(column) {
            *sum += value;
        }
    }
    sums
}

/// What all tiles share.
struct Pass<'a, const M: usize> {
    matrix: &'a TiledMatrix,
    /// `[in]`, place by place
    columns: &'a [[f32; M]],
    /// Sums of the columns of each group, where zeros need them.
    sums: &'a [[f32; M]],
}

impl<const M: usize> Pass<'_, M> {
    /// The products with the tiles from `first` on, into the same columns of each row.
    fn run(&self, instructions: Instructions, first: usize, output: &mut [&mut [f32]]) {
        let columns = output.first().map_or(0, |output| output.len());
        for (tile, start) in (first..).zip((0..columns).step_by(LANES)) {
            let mut sums = [[0.0; LANES]; M];
            match instructions {
                // SAFETY: the processor has the instructions, as `product_with` made sure.
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => unsafe { tile_avx512(self, tile, &mut sums) },
                // SAFETY: likewise.
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => unsafe { tile_avx2(self, tile, &mut sums) },
                _ => sum_tile::<[f32; LANES], M>(self, tile, &mut sums),
            }
            let end = columns.min(start + LANES);
            for (output, sums) in output.iter_mut().zip(&sums) {
                output[start..end].copy_from_slice(&sums[..end - start]);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn tile_avx512<const M: usize>(pass: &Pass<'_, M>, tile: usize, sums: &mut [[f32; LANES]; M]) {
    sum_tile::<limbeck_core::lanes::Wide, M>(pass, tile, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn tile_avx2<const M: usize>(pass: &Pass<'_, M>, tile: usize, sums: &mut [[f32; LANES]; M]) {
    sum_tile::<limbeck_core::lanes::Pair, M>(pass, tile, sums);
}

#[expect(clippy::inline_always, reason = "compiled anew for each set of instructions")]
#[inline(always)]
fn sum_tile<L: CodeLanes, const M: usize>(
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
fn sum_codes<L: CodeLanes, const M: usize, const PER_WORD: usize, const CHAINS: usize>(
    pass: &Pass<'_, M>,
    tile: usize,
    sums: &mut [[f32; LANES]; M],
) {
    let matrix = pass.matrix;
    let groups = matrix.num_groups();
    let per_group = matrix.group_size / PER_WORD;
    let words = &matrix.words[tile * groups * per_group..(tile + 1) * groups * per_group];
    let scales = &matrix.scales[tile * groups..(tile + 1) * groups];
    let zeros = matrix.zeros.as_ref().map(|zeros| &zeros[tile * groups..(tile + 1) * groups]);
    let mut totals = [L::zero(); M];
    for (group, words) in words.chunks_exact(per_group).enumerate() {
        let scale = match matrix.scale_bits {
            ScaleBits::Float16 => L::halves(&scales[group]),
            ScaleBits::BFloat16 => L::brains(&scales[group]),
        };
        let columns = &pass.columns[group * matrix.group_size..(group + 1) * matrix.group_size];
        let mut partial = [[L::zero(); CHAINS]; M];
        sum_group::<L, M, PER_WORD, CHAINS>(words, columns, &mut partial);
        for (total, chains) in totals.iter_mut().zip(&partial) {
            let mut sum = chains[0];
            for &chain in &chains[1..] {
                sum = sum.add(chain);
            }
            *total = total.add_product(sum, scale);
        }
        if let Some(zeros) = zeros {
            let below = L::below(matrix.bits.middle(), &zeros[group]);
            let shift = L::zero().add_product(below, scale);
            for (row, total) in totals.iter_mut().enumerate() {
                *total = total.add_scaled(shift, pass.sums[group][row]);
            }
        }
    }
    for (sum, total) in sums.iter_mut().zip(totals) {
        total.store(sum);
    }
}

#[expect(clippy::inline_always, reason = "compiled anew for each set of instructions")]
#[inline(always)]
fn sum_group<L: CodeLanes, const M: usize, const PER_WORD: usize, const CHAINS: usize>(
    words: &[Words],
    columns: &[[f32; M]],
    partial: &mut [[L; CHAINS]; M],
) {
    let (columns, _) = columns.as_chunks::<PER_WORD>();
    for (words, columns) in words.iter().zip(columns) {
        L::prefetch(std::ptr::from_ref(words).wrapping_add(AHEAD));
        let words = L::load(words);
        for place in 0..PER_WORD {
            let shift = (place * (32 / PER_WORD)) as u32;
            let weight =
                if PER_WORD == 4 { L::bytes(words, shift) } else { L::nibbles(words, shift) };
            for row in 0..M {
                let chain = &mut partial[row][place % CHAINS];
                *chain = chain.add_scaled(weight, columns[place][row]);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;
    use crate::grid::{GridRule, ScaleDtype};
    use crate::matrix::WeightMatrix;
    use crate::quantized::QuantizedWeight;
    use crate::rtn;

    pub(in crate::kernels) fn weights() -> Vec<QuantizedWeight> {
        let (outputs, inputs) = (37, 128);
        let weight = WeightMatrix::new(CounterRng::new(9).normals(outputs * inputs), 37, 128);
        let weight = weight.unwrap();
        let mut weights = Vec::new();
        for bits in Bits::ALL {
            for (symmetric, group_size) in [(true, 32), (false, 64), (true, 128)] {
                for scale_dtype in [ScaleDtype::Float16, ScaleDtype::BFloat16] {
                    let rule = GridRule { symmetric, scale_dtype, ..GridRule::symmetric(bits) };
                    weights.push(rtn::quantize(&weight, rule, group_size).unwrap());
                }
            }
            let rule = GridRule { symmetric: false, ..GridRule::symmetric(bits) };
            let weight = rtn::quantize(&weight, rule, 32).unwrap();
            let scattered = (0..128).map(|feature| feature * 37 % 128 / 32).collect();
            weights.push(weight.with_groups(scattered).unwrap());
        }
        weights
    }

    #[test]
    fn a_matrix_comes_back_from_its_tiles() {
        for weight in weights() {
            let tiled = TiledMatrix::new(&weight).unwrap();
            assert_eq!(tiled.to_quantized(), weight);
            let mut dense = vec![0.0_f32; 5 * 128];
            tiled.dequantize(30, &mut dense);
            assert_eq!(dense, weight.dequantize().values()[30 * 128..35 * 128]);
        }
    }

    #[test]
    fn products_are_those_of_the_dequantised_weight() {
        let mut rng = CounterRng::new(10);
        for weight in weights() {
            let tiled = TiledMatrix::new(&weight).unwrap();
            let dense = weight.dequantize();
            for rows in [1, 2, 3, 5, 8, 19] {
                let input = rng.normals(rows * 128);
                let expected: Vec<f64> = (0..rows * 37)
                    .map(|index| {
                        let input = &input[index / 37 * 128..][..128];
                        let weights = &dense.values()[index % 37 * 128..][..128];
                        let product = |(&x, &w): (&f32, &f32)| f64::from(x) * f64::from(w);
                        input.iter().zip(weights).map(product).sum()
                    })
                    .collect();
                for instructions in Instructions::available() {
                    let mut output = vec![f32::NAN; rows * 37];
                    tiled.product_with(instructions, &input, &mut output);
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
}
