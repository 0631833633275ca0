//! A matrix in NF4: codes, and the blocks' largest magnitudes in 8 bits.
//!
//! The magnitudes are all positive and much alike, so their mean is subtracted first; what is
//! left is coded in blocks of 256 by [`limbeck_core::dynamic_map()`] (arXiv:2305.14314, section
//! 3, "Double Quantization"). Blocks run along the rows; a row whose width is not a multiple
//! of [`BLOCK`] ends with a shorter one, so that any rows can be dequantised by themselves.

use std::sync::LazyLock;

use half::{bf16, f16};
use limbeck_core::dynamic_map;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::levels::{BLOCK, BLOCK_BYTES, LEVELS, Level, dequantize_block, quantize_block};
use crate::elements::{elements, filled};
use crate::error::{Error, Result};
use crate::matrix::floats;
use crate::packed_linear::tensor_bytes;

/// Block maxima that share a scale of their own.
pub const NESTED_BLOCK: usize = 256;

/// Weights that are read, or dequantised by a thread, at a time.
const CHUNK: usize = 1 << 20;
const THREAD_CHUNK: usize = 1 << 15;

static NESTED_LEVELS: LazyLock<Vec<f32>> = LazyLock::new(|| dynamic_map(true));

/// A matrix `[rows, columns]` in NF4.
#[derive(Debug)]
pub struct Nf4Matrix {
    rows: i64,
    columns: i64,
    /// u8 `[rows, blocks * BLOCK_BYTES]`, `blocks` being those of a row.
    codes: Tensor,
    /// Codes of the blocks' largest magnitudes less [`Self::offset`], u8 `[rows, blocks]`.
    absmax: Tensor,
    /// The largest magnitude of each [`NESTED_BLOCK`] of those differences, f32.
    nested_absmax: Tensor,
    /// The mean of the blocks' largest magnitudes.
    offset: f32,
}

impl Nf4Matrix {
    /// Rounds a matrix of which `read(start, length)` gives some rows `[length, columns]` in
    /// any floating-point dtype: none is ever dense as a whole. `layer` is what errors name.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; those of `read`.
    pub fn quantize(
        layer: &str,
        (rows, columns): (i64, i64),
        device: Device,
        read: &mut dyn FnMut(i64, i64) -> Result<Tensor>,
    ) -> Result<Self> {
        let width = columns.max(1) as usize;
        let blocks = width.div_ceil(BLOCK);
        let not_finite = || Error::NotFinite { layer: layer.to_owned() };
        let mut absmax = vec![0.0_f32; rows as usize * blocks];
        let chunk_rows = (CHUNK / width).max(1);
        let codes = filled(&[rows, (blocks * BLOCK_BYTES) as i64], |codes: &mut [u8]| {
            let chunks = codes
                .chunks_mut(chunk_rows * blocks * BLOCK_BYTES)
                .zip(absmax.chunks_mut(chunk_rows * blocks));
            for (index, (codes, absmax)) in chunks.enumerate() {
                let (start, length) = (index * chunk_rows, absmax.len() / blocks);
                let weights = floats(&read(start as i64, length as i64)?)?;
                weights
                    .par_chunks(width)
                    .zip(codes.par_chunks_mut(blocks * BLOCK_BYTES))
                    .zip(absmax.par_chunks_mut(blocks))
                    .try_for_each(|((weights, codes), absmax)| {
                        let blocks = weights.chunks(BLOCK).zip(codes.chunks_mut(BLOCK_BYTES));
                        for ((weights, codes), absmax) in blocks.zip(absmax) {
                            *absmax = quantize_block(weights, codes)?;
                        }
                        Some(())
                    })
                    .ok_or_else(not_finite)?;
            }
            Ok(())
        })?;
        let mean = absmax.iter().map(|&value| f64::from(value)).sum::<f64>();
        let offset = (mean / absmax.len().max(1) as f64) as f32;
        let (nested_codes, nested_absmax) = quantize_maxima(&absmax, offset);
        Ok(Self {
            rows,
            columns,
            codes: codes.f_to_device(device)?,
            absmax: Tensor::f_from_slice(&nested_codes)?
                .f_view([rows, blocks as i64])?
                .f_to_device(device)?,
            nested_absmax: Tensor::f_from_slice(&nested_absmax)?.f_to_device(device)?,
            offset,
        })
    }

    /// Rows.
    pub fn rows(&self) -> i64 {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> i64 {
        self.columns
    }

    /// Bytes of all that is held.
    pub fn bytes(&self) -> u64 {
        let tensors = [&self.codes, &self.absmax, &self.nested_absmax];
        tensors.into_iter().map(tensor_bytes).sum::<u64>() + size_of::<f32>() as u64
    }

    /// Bits of a weight, scales included.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes() as f64 / (self.rows * self.columns).max(1) as f64
    }

    /// Some rows in `kind`, `[length, columns]`.
    ///
    /// # Errors
    /// Rows that there are not.
    pub fn dequantize(&self, start: i64, length: i64, kind: Kind) -> Result<Tensor> {
        if let Some(packed) = Packed::of(self) {
            // Refuses what is not there, as it would for a dense matrix.
            let _ = self.codes.f_narrow(0, start, length)?;
            let first = start as usize;
            return packed.dequantize(length, &|index| first + index, kind);
        }
        let rows = Tensor::f_arange_start(start, start + length, (Kind::Int64, self.device()))?;
        self.gather(&rows, kind)
    }

    /// The rows of these numbers in `kind`, `[.., columns]`.
    ///
    /// # Shapes
    /// `rows` i64, of any shape.
    ///
    /// # Errors
    /// Rows that there are not.
    pub fn select(&self, rows: &Tensor, kind: Kind) -> Result<Tensor> {
        let mut shape = rows.size();
        shape.push(self.columns);
        let flat = rows.f_reshape([-1])?;
        if let (Some(packed), Some(numbers)) = (Packed::of(self), elements::<i64>(&flat)) {
            if let Some(&row) = numbers.iter().find(|&&row| row < 0 || row >= self.rows) {
                let (row, rows) = (row, self.rows);
                return Err(Error::NoRow { row, rows });
            }
            let count = numbers.len() as i64;
            let selected = packed.dequantize(count, &|index| numbers[index] as usize, kind)?;
            return Ok(selected.f_view(shape.as_slice())?);
        }
        Ok(self.gather(&flat, kind)?.f_view(shape.as_slice())?)
    }

    /// As [`Self::select`] in libtorch's operations, for other devices than the CPU; the
    /// reference of the kernel.
    fn gather(&self, rows: &Tensor, kind: Kind) -> Result<Tensor> {
        let device = self.device();
        let constant = |values: &[f32]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?.f_to_device(device)?)
        };
        let blocks = self.absmax.size2()?.1;
        let codes = self.codes.f_index_select(0, rows)?; // [n, blocks * BLOCK_BYTES]
        let halves = [codes.f_bitwise_right_shift_tensor_scalar(4)?, codes.f_bitwise_and(15)?];
        let codes = Tensor::f_stack(&halves, -1)?.f_to_kind(Kind::Int)?;
        let shares = constant(&LEVELS)?.f_index_select(0, &codes.f_view([-1])?)?;

        let nested = self.absmax.f_index_select(0, rows)?.f_to_kind(Kind::Int)?; // [n, blocks]
        let numbers = rows.f_mul_scalar(blocks)?.f_unsqueeze(1)?;
        let numbers =
            numbers.f_add(&Tensor::f_arange(blocks, (Kind::Int64, device))?)?.f_view([-1])?;
        let numbers = numbers.f_div_scalar_mode(NESTED_BLOCK as i64, "floor")?;
        let absmax = constant(&NESTED_LEVELS)?
            .f_index_select(0, &nested.f_view([-1])?)?
            .f_mul(&self.nested_absmax.f_index_select(0, &numbers)?)?
            .f_add_scalar(f64::from(self.offset))?; // [n * blocks]
        let weights = shares.f_view([-1, BLOCK as i64])?.f_mul(&absmax.f_unsqueeze(1)?)?;
        let weights = weights.f_view([rows.size1()?, blocks * BLOCK as i64])?;
        Ok(weights.f_narrow(1, 0, self.columns)?.f_to_kind(kind)?)
    }

    fn device(&self) -> Device {
        self.codes.device()
    }

    /// Shallow clones of the tensors, with suffixes like those of bitsandbytes' checkpoints.
    pub fn named(&self) -> Vec<(String, Tensor)> {
        [
            ("weight", &self.codes),
            ("weight.absmax", &self.absmax),
            ("weight.nested_absmax", &self.nested_absmax),
        ]
        .map(|(suffix, tensor)| (suffix.to_owned(), tensor.shallow_clone()))
        .into()
    }

    /// Another handle on the same tensors.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            codes: self.codes.shallow_clone(),
            absmax: self.absmax.shallow_clone(),
            nested_absmax: self.nested_absmax.shallow_clone(),
            ..*self
        }
    }
}

/// The codes of block maxima, and the scale of each block of them.
fn quantize_maxima(absmax: &[f32], offset: f32) -> (Vec<u8>, Vec<f32>) {
    let borders: Vec<f32> =
        NESTED_LEVELS.windows(2).map(|pair| f32::midpoint(pair[0], pair[1])).collect();
    let mut codes = Vec::with_capacity(absmax.len());
    let mut scales = Vec::with_capacity(absmax.len().div_ceil(NESTED_BLOCK));
    for block in absmax.chunks(NESTED_BLOCK) {
        let largest =
            block.iter().fold(0.0_f32, |largest, value| largest.max((value - offset).abs()));
        let scale = 1.0 / largest.max(f32::MIN_POSITIVE);
        codes.extend(block.iter().map(|value| {
            let share = (value - offset) * scale;
            borders.partition_point(|&border| border < share) as u8
        }));
        scales.push(largest);
    }
    (codes, scales)
}

/// A matrix on the CPU as slices.
struct Packed<'a> {
    columns: usize,
    blocks: usize,
    codes: &'a [u8],
    absmax: &'a [u8],
    nested_absmax: &'a [f32],
    offset: f32,
}

impl<'a> Packed<'a> {
    fn of(matrix: &'a Nf4Matrix) -> Option<Self> {
        let columns = matrix.columns.max(1) as usize;
        Some(Self {
            columns,
            blocks: columns.div_ceil(BLOCK),
            codes: elements(&matrix.codes)?,
            absmax: elements(&matrix.absmax)?,
            nested_absmax: elements(&matrix.nested_absmax)?,
            offset: matrix.offset,
        })
    }

    fn dequantize(
        &self,
        count: i64,
        row_of: &(dyn Fn(usize) -> usize + Sync),
        kind: Kind,
    ) -> Result<Tensor> {
        match kind {
            Kind::BFloat16 => self.fill::<bf16>(count, row_of),
            Kind::Half => self.fill::<f16>(count, row_of),
            kind => Ok(self.fill::<f32>(count, row_of)?.f_to_kind(kind)?),
        }
    }

    fn fill<T: Level>(
        &self,
        count: i64,
        row_of: &(dyn Fn(usize) -> usize + Sync),
    ) -> Result<Tensor> {
        filled(&[count, self.columns as i64], |weights: &mut [T]| {
            let rows = (THREAD_CHUNK / self.columns).max(1);
            weights
                .par_chunks_mut(self.columns)
                .with_min_len(rows)
                .enumerate()
                .for_each(|(index, weights)| self.row(row_of(index), weights));
            Ok(())
        })
    }

    fn row<T: Level>(&self, row: usize, weights: &mut [T]) {
        let first = row * self.blocks;
        for (block, weights) in (first..first + self.blocks).zip(weights.chunks_mut(BLOCK)) {
            let share = NESTED_LEVELS[usize::from(self.absmax[block])];
            let absmax = share * self.nested_absmax[block / NESTED_BLOCK] + self.offset;
            dequantize_block(&self.codes[block * BLOCK_BYTES..][..BLOCK_BYTES], absmax, weights);
        }
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::test_device;

    use super::*;

    fn random(rows: i64, columns: i64) -> Tensor {
        tch::manual_seed(5);
        Tensor::randn([rows, columns], (Kind::Float, Device::Cpu)) * 0.02
    }

    fn rounded(weight: &Tensor, device: Device) -> Nf4Matrix {
        let shape = weight.size2().unwrap();
        Nf4Matrix::quantize("layer", shape, device, &mut |start, length| {
            Ok(weight.f_narrow(0, start, length)?)
        })
        .unwrap()
    }

    #[test]
    fn a_weight_takes_little_more_than_four_bits() {
        let matrix = rounded(&random(256, 640), Device::Cpu);
        // 4 + 8 / 64 + 32 / (64 * 256), and one offset.
        let expected = 4.126_953 + 32.0 / (256.0 * 640.0);
        assert!((matrix.bits_per_weight() - expected).abs() < 1e-4, "{}", matrix.bits_per_weight());
    }

    #[test]
    fn no_weight_is_off_by_more_than_half_the_widest_gap() {
        let weight = random(64, 192);
        let dense = rounded(&weight, Device::Cpu).dequantize(0, 64, Kind::Float).unwrap();
        let blocks = weight.view([-1, BLOCK as i64]);
        let absmax = blocks.abs().amax([1].as_slice(), true);
        // Half of the gap below -0.696, and what 8 bits lose of the block's maximum.
        let bound = absmax * (0.152 + 0.01);
        let error = (blocks - dense.view([-1, BLOCK as i64])).abs();
        assert!(bool::try_from(error.le_tensor(&bound).all()).unwrap());
        let relative = (&weight - dense).norm() / weight.norm();
        assert!((0.08..0.105).contains(&relative.double_value(&[])), "{relative}");
    }

    #[test]
    fn kernel_and_libtorch_agree_on_rows_and_selections() {
        for columns in [32, 64, 100, 640] {
            let matrix = rounded(&random(70, columns), Device::Cpu);
            for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
                let all = matrix.dequantize(0, 70, kind).unwrap();
                assert_eq!((all.size(), all.kind()), (vec![70, columns], kind));
                let numbers = Tensor::arange(70, (Kind::Int64, Device::Cpu));
                assert_eq!(matrix.gather(&numbers, kind).unwrap(), all, "{columns} {kind:?}");
                let some = matrix.dequantize(13, 9, kind).unwrap();
                assert_eq!(some, all.narrow(0, 13, 9));
                let numbers = Tensor::from_slice(&[3_i64, 69, 0, 3]).view([2, 2]);
                let selected = matrix.select(&numbers, kind).unwrap();
                let expected = all.index_select(0, &numbers.view(-1)).view([2, 2, columns]);
                assert_eq!(selected, expected);
            }
            assert!(matrix.dequantize(60, 11, Kind::Float).is_err());
            let outside = matrix.select(&Tensor::from_slice(&[70_i64]), Kind::Float).unwrap_err();
            assert!(outside.to_string().contains("row 70"), "{outside}");
        }
    }

    #[test]
    fn a_device_holds_the_same_weights() {
        let weight = random(64, 192);
        let device = rounded(&weight, test_device()).dequantize(2, 60, Kind::Float).unwrap();
        let cpu = rounded(&weight, Device::Cpu).dequantize(2, 60, Kind::Float).unwrap();
        let difference = (device.to_device(Device::Cpu) - cpu).abs().max().double_value(&[]);
        assert!(difference < 1e-7, "{difference}");
    }

    #[test]
    fn a_weight_that_is_not_finite_is_refused_by_name() {
        let weight = random(4, 64);
        let _ = weight.get(2).get(5).fill_(f64::NAN);
        let error = Nf4Matrix::quantize("layer.7", (4, 64), Device::Cpu, &mut |start, length| {
            Ok(weight.narrow(0, start, length))
        })
        .unwrap_err();
        assert!(error.to_string().contains("layer.7"), "{error}");
    }
}
