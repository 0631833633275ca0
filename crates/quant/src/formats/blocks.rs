//! Blocks of 32 weights as GGUF files hold them, with exactly the codes of a quantised matrix.
//!
//! | block | bytes | content |
//! |---|---|---|
//! | `Q4_0` | 18 | f16 scale, 16 bytes of codes: `(code − 8) · scale` |
//! | `Q4_1` | 20 | f16 scale, f16 minimum, 16 bytes of codes: `code · scale + minimum` |
//! | `Q8_0` | 34 | f16 scale, 32 signed codes: `code · scale` |
//!
//! Byte `i` of 4-bit codes holds code `i` in its low half and code `i + 16` in its high one
//! (ggml's `ggml-quants.c`). Larger groups repeat their scale, so that a weight costs 4.5 or 8.5
//! bits whatever the group; codes of 2 and 3 bits are moved to the middle of 4. The minimum of an
//! asymmetric group, `−zero · scale`, is rounded to f16, which is off by less than 1/130 of a step.
//! [`super::Format::pack`] gives the blocks as one tensor, from which a writer of GGUF files takes them.

use half::f16;
use rayon::prelude::*;
use tch::{Kind, Tensor};

use super::{LayerSettings, TensorSource};
use crate::bits::Bits;
use crate::elements::filled;
use crate::error::Result;
use crate::grid::Grid;
use crate::quantized::QuantizedWeight;

/// Weights of a block.
pub const BLOCK: usize = 32;

/// The suffix of the tensor of blocks.
pub(super) const BLOCKS: &str = "blocks";

/// A kind of block, by ggml's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// 4 bits, symmetric.
    Q4_0,
    /// 4 bits with a minimum.
    Q4_1,
    /// 8 bits, symmetric.
    Q8_0,
}

impl BlockKind {
    /// The one that holds codes of a width exactly; `None` where none does.
    pub fn of(bits: Bits, symmetric: bool) -> Option<Self> {
        match (bits, symmetric) {
            (Bits::Eight, true) => Some(Self::Q8_0),
            (Bits::Eight, false) => None,
            (_, true) => Some(Self::Q4_0),
            (_, false) => Some(Self::Q4_1),
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
        }
    }

    /// What is added to a code of that width.
    fn shift(self, bits: Bits) -> u8 {
        match self {
            Self::Q4_0 => Bits::Four.middle() - bits.middle(),
            Self::Q4_1 | Self::Q8_0 => 0,
        }
    }
}

/// The blocks of a matrix, row by row, and their kind; `None` where no kind holds it: 8-bit codes
/// with zeros, groups that are not whole blocks or no neighbours.
pub fn to_blocks(weight: &QuantizedWeight) -> Option<(BlockKind, Vec<u8>)> {
    let kind = BlockKind::of(weight.bits(), weight.is_symmetric())?;
    let (size, inputs) = (weight.group_size(), weight.in_features());
    if !size.is_multiple_of(BLOCK) || weight.group_of().is_some() {
        return None;
    }
    let shift = kind.shift(weight.bits());
    let mut blocks = vec![0; weight.codes().len() / BLOCK * kind.bytes()];
    let of_row = inputs / BLOCK * kind.bytes();
    blocks.par_chunks_mut(of_row.max(1)).enumerate().for_each(|(row, blocks)| {
        let codes = &weight.codes()[row * inputs..][..inputs];
        let grids = &weight.grids()[row * weight.num_groups()..];
        let pieces = blocks.chunks_mut(kind.bytes()).zip(codes.chunks(BLOCK));
        for (index, (block, codes)) in pieces.enumerate() {
            write_block(kind, grids[index * BLOCK / size], shift, codes, block);
        }
    });
    Some((kind, blocks))
}

fn write_block(kind: BlockKind, grid: Grid, shift: u8, codes: &[u8], block: &mut [u8]) {
    let scale = f16::from_f32(grid.scale);
    block[..2].copy_from_slice(&scale.to_le_bytes());
    if kind == BlockKind::Q8_0 {
        for (byte, &code) in block[2..].iter_mut().zip(codes) {
            // From 128 above zero to two's complement.
            *byte = code ^ 0x80;
        }
        return;
    }
    let mut start = 2;
    if kind == BlockKind::Q4_1 {
        let minimum = f16::from_f32(-f32::from(grid.zero) * grid.scale);
        block[2..4].copy_from_slice(&minimum.to_le_bytes());
        start = 4;
    }
    let (low, high) = codes.split_at(BLOCK / 2);
    for ((byte, low), high) in block[start..].iter_mut().zip(low).zip(high) {
        *byte = (low + shift) | (high + shift) << 4;
    }
}

/// As [`super::Format::pack`].
pub(super) fn pack(weight: &QuantizedWeight) -> Result<Option<Vec<(String, Tensor)>>> {
    let Some((_, blocks)) = to_blocks(weight) else { return Ok(None) };
    let rows = weight.out_features();
    let shape = [rows as i64, (blocks.len() / rows.max(1)) as i64];
    let tensor = filled(&shape, |bytes: &mut [u8]| {
        bytes.copy_from_slice(&blocks);
        Ok(())
    })?;
    Ok(Some(vec![(BLOCKS.to_owned(), tensor)]))
}

/// As [`super::Format::read`].
pub(super) fn read(
    source: &mut dyn TensorSource,
    settings: LayerSettings,
    (outputs, inputs): (usize, usize),
) -> Result<QuantizedWeight> {
    let bits = settings.bits;
    let size = settings.group_size.unwrap_or(inputs).max(1);
    let kind = BlockKind::of(bits, settings.symmetric)
        .filter(|_| size.is_multiple_of(BLOCK) && inputs.is_multiple_of(size));
    let Some(kind) = kind else {
        let expected = "symmetric or 4-bit codes in groups of whole blocks of 32";
        return Err(source.misfit(BLOCKS, expected.into(), format!("{bits:?} in {size}")));
    };
    let width = inputs / BLOCK * kind.bytes();
    let tensor = source.of_kind(BLOCKS, &[outputs, width], "uint8", |kind| kind == Kind::Uint8)?;
    let blocks = Vec::<u8>::try_from(&tensor.f_contiguous()?.f_view([-1])?)?;
    let shift = kind.shift(bits);
    let mut codes = Vec::with_capacity(outputs * inputs);
    let mut grids: Vec<Grid> = Vec::with_capacity(outputs * inputs / size);
    for (index, block) in blocks.chunks(kind.bytes()).enumerate() {
        let number = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        let scale = number(0);
        let zero = match kind {
            BlockKind::Q4_1 => (-number(2) / scale).round() as u8,
            BlockKind::Q4_0 | BlockKind::Q8_0 => bits.middle(),
        };
        let grid = Grid { scale, zero };
        if (index * BLOCK).is_multiple_of(size) {
            grids.push(grid);
        } else if grids.last() != Some(&grid) {
            return Err(source.misfit(BLOCKS, "one scale for a group".into(), "several".into()));
        }
        match kind {
            BlockKind::Q8_0 => codes.extend(block[2..].iter().map(|code| code ^ 0x80)),
            BlockKind::Q4_0 | BlockKind::Q4_1 => {
                let packed = &block[block.len() - BLOCK / 2..];
                codes.extend(packed.iter().map(|byte| (byte & 15).wrapping_sub(shift)));
                codes.extend(packed.iter().map(|byte| (byte >> 4).wrapping_sub(shift)));
            }
        }
    }
    if let Some(code) = codes.iter().find(|&&code| code > bits.max_code()) {
        let expected = format!("codes of {} bits", bits.width());
        return Err(source.misfit(BLOCKS, expected, code.to_string()));
    }
    QuantizedWeight::new(bits, size, (outputs, inputs), codes, grids)
        .ok_or_else(|| source.misfit(BLOCKS, "whole groups".into(), size.to_string()))
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::super::Format;
    use super::super::in_memory::round_trip;
    use super::*;
    use crate::grid::GridRule;
    use crate::matrix::WeightMatrix;
    use crate::rtn;

    fn rounded(bits: Bits, symmetric: bool, size: usize) -> QuantizedWeight {
        let weight = WeightMatrix::new(CounterRng::new(12).normals(3 * 64), 3, 64).unwrap();
        let rule = GridRule { symmetric, ..GridRule::symmetric(bits) };
        rtn::quantize(&weight, rule, size).unwrap()
    }

    #[test]
    fn blocks_keep_every_code() {
        for bits in Bits::ALL {
            for symmetric in [true, false] {
                for size in [32, 64] {
                    let weight = rounded(bits, symmetric, size);
                    if bits == Bits::Eight && !symmetric {
                        assert!(to_blocks(&weight).is_none());
                    } else {
                        assert_eq!(round_trip(&weight, Format::Gguf), weight, "{bits:?} {size}");
                    }
                }
            }
        }
        assert!(to_blocks(&rounded(Bits::Four, true, 16)).is_none());
        let ordered = rounded(Bits::Four, true, 32).with_groups((0..64).map(|k| k % 2).collect());
        assert!(to_blocks(&ordered.unwrap()).is_none());
    }

    #[test]
    fn a_block_is_laid_out_as_ggml_defines_it() {
        let codes: Vec<u8> = (0..32).map(|index| index / 2).collect();
        let of = |bits, zero| {
            let grids = vec![Grid { scale: -0.5, zero }];
            QuantizedWeight::new(bits, 32, (1, 32), codes.clone(), grids).unwrap()
        };
        let (kind, block) = to_blocks(&of(Bits::Four, 8)).unwrap();
        assert_eq!((kind, block.len()), (BlockKind::Q4_0, 18));
        assert_eq!(block[..6], [0x00, 0xb8, 0x80, 0x80, 0x91, 0x91]);
        let (kind, block) = to_blocks(&of(Bits::Four, 3)).unwrap();
        assert_eq!((kind, block.len()), (BlockKind::Q4_1, 20));
        // The minimum is −3 · −0.5 = 1.5.
        assert_eq!(block[..5], [0x00, 0xb8, 0x00, 0x3e, 0x80]);
        let (kind, block) = to_blocks(&of(Bits::Eight, 128)).unwrap();
        assert_eq!((kind, block.len()), (BlockKind::Q8_0, 34));
        assert_eq!(block[2..5], [0x80, 0x80, 0x81]);
    }
}
