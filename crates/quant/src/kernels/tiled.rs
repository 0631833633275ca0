//! A quantised matrix as the kernels read it.

use half::{bf16, f16};
use limbeck_core::huge_pages;
use rayon::prelude::*;

use super::LANES;
use crate::bits::Bits;
use crate::elements::Float;
use crate::grid::Grid;
use crate::quantized::QuantizedWeight;

/// Words of one step of a tile: as many codes of each output as fit a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
pub(crate) struct Words(pub(crate) [u32; LANES]);

/// How a scale's 16 bits are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScaleBits {
    Float16,
    BFloat16,
}

/// A matrix `[out, in]` of codes in tiles of 16 outputs.
///
/// Codes of up to 4 bits take 4 here, 8-bit ones 8, whatever their file takes; narrower ones
/// are lifted so that the middle code of every width lies in the middle.
#[derive(Debug, Clone, PartialEq)]
pub struct TiledMatrix {
    pub(crate) bits: Bits,
    pub(crate) out_features: usize,
    pub(crate) in_features: usize,
    pub(crate) group_size: usize,
    /// Input feature at each place, where files have groups of scattered ones.
    pub(crate) order: Option<Vec<u32>>,
    /// `[tiles, groups, words of a group]`
    pub(crate) words: Vec<Words>,
    pub(crate) scale_bits: ScaleBits,
    /// `[tiles, groups]`
    pub(crate) scales: Vec<[u16; LANES]>,
    /// `[tiles, groups]`; `None` where all are the middle code.
    pub(crate) zeros: Option<Vec<[u8; LANES]>>,
}

impl TiledMatrix {
    /// Codes of a word.
    pub(crate) fn codes_per_word(&self) -> usize {
        codes_per_word(self.bits)
    }

    /// What is added to a code here.
    pub(crate) fn lift(&self) -> u8 {
        lift(self.bits)
    }

    /// The matrix in tiles; `None` where a group does not fill whole words, groups have
    /// different sizes, or a scale is in neither 16-bit dtype exactly.
    pub fn new(weight: &QuantizedWeight) -> Option<Self> {
        let (outputs, inputs) = (weight.out_features(), weight.in_features());
        let (groups, group_size) = (weight.num_groups(), weight.group_size());
        let per_word = codes_per_word(weight.bits());
        if !group_size.is_multiple_of(per_word) {
            return None;
        }
        let order = match weight.group_of() {
            None => None,
            Some(group_of) => Some(order_by_group(group_of, groups, group_size)?),
        };
        let scale_bits = exact_bits(weight.grids())?;
        let symmetric = weight.is_symmetric();
        let tiles = outputs.div_ceil(LANES);
        let words_per_group = group_size / per_word;
        let count = tiles * inputs / per_word;
        let mut words = huge_pages::vec_with_capacity(count);
        words.resize(count, Words([0; LANES]));
        let mut scales = vec![[0; LANES]; tiles * groups];
        let mut zeros = vec![[0; LANES]; if symmetric { 0 } else { tiles * groups }];
        let width = 32 / per_word;
        let lift = lift(weight.bits());
        words.par_chunks_mut((groups * words_per_group).max(1)).enumerate().for_each(
            |(tile, words)| {
                for lane in 0..LANES.min(outputs - tile * LANES) {
                    let start = (tile * LANES + lane) * inputs;
                    let codes = &weight.codes()[start..start + inputs];
                    for (word, place) in words.iter_mut().zip((0..inputs).step_by(per_word)) {
                        let mut packed = 0;
                        for offset in 0..per_word {
                            let place = place + offset;
                            let feature =
                                order.as_ref().map_or(place, |order| order[place] as usize);
                            packed |= u32::from(codes[feature] + lift) << (width * offset);
                        }
                        word.0[lane] = packed;
                    }
                }
            },
        );
        for output in 0..outputs {
            let (tile, lane) = (output / LANES, output % LANES);
            for group in 0..groups {
                let grid = weight.grids()[output * groups + group];
                scales[tile * groups + group][lane] = match scale_bits {
                    ScaleBits::Float16 => f16::from_f32(grid.scale).to_bits(),
                    ScaleBits::BFloat16 => bf16::from_f32(grid.scale).to_bits(),
                };
                if !symmetric {
                    zeros[tile * groups + group][lane] = grid.zero;
                }
            }
        }
        Some(Self {
            bits: weight.bits(),
            out_features: outputs,
            in_features: inputs,
            group_size,
            order,
            words,
            scale_bits,
            scales,
            zeros: (!symmetric).then_some(zeros),
        })
    }

    /// Rows of the matrix.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Columns of the matrix.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// Groups of one output.
    pub(crate) fn num_groups(&self) -> usize {
        self.in_features / self.group_size
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        let order = self.order.as_ref().map_or(0, |order| size_of_val(order.as_slice()));
        let zeros = self.zeros.as_ref().map_or(0, |zeros| size_of_val(zeros.as_slice()));
        let rest = size_of_val(self.words.as_slice()) + size_of_val(self.scales.as_slice());
        (order + zeros + rest) as u64
    }

    /// The matrix that it was made of.
    pub fn to_quantized(&self) -> QuantizedWeight {
        let groups = self.num_groups();
        let mut codes = vec![0; self.out_features * self.in_features];
        codes.par_chunks_mut(self.in_features.max(1)).enumerate().for_each(|(output, codes)| {
            self.each_code(output, |_, feature, code| codes[feature] = code);
        });
        let grids = (0..self.out_features * groups)
            .map(|index| self.grid(index / groups, index % groups))
            .collect();
        let group_of = self.order.as_ref().map(|order| {
            let mut group_of = vec![0; order.len()];
            for (place, &feature) in order.iter().enumerate() {
                group_of[feature as usize] = (place / self.group_size) as u32;
            }
            group_of
        });
        QuantizedWeight {
            bits: self.bits,
            group_size: self.group_size,
            out_features: self.out_features,
            in_features: self.in_features,
            codes,
            grids,
            group_of,
        }
    }

    /// Writes the weights of some outputs, `[outputs, in]`.
    pub(crate) fn dequantize<T: Float>(&self, first: usize, weights: &mut [T]) {
        weights.par_chunks_mut(self.in_features.max(1)).enumerate().for_each(|(row, weights)| {
            self.dequantize_row(first + row, weights);
        });
    }

    /// Writes the weights of one output, `[in]`.
    pub(crate) fn dequantize_row<T: Float>(&self, output: usize, weights: &mut [T]) {
        let mut grid = Grid { scale: 1.0, zero: 0 };
        let mut next = 0;
        self.each_code(output, |place, feature, code| {
            if place == next {
                grid = self.grid(output, place / self.group_size);
                next += self.group_size;
            }
            weights[feature] = T::round(grid.weight(code));
        });
    }

    fn grid(&self, output: usize, group: usize) -> Grid {
        let index = output / LANES * self.num_groups() + group;
        let lane = output % LANES;
        let bits = self.scales[index][lane];
        let scale = match self.scale_bits {
            ScaleBits::Float16 => f16::from_bits(bits).to_f32(),
            ScaleBits::BFloat16 => bf16::from_bits(bits).to_f32(),
        };
        let zero = self.zeros.as_ref().map_or(self.bits.middle(), |zeros| zeros[index][lane]);
        Grid { scale, zero }
    }

    /// Hands over place, input feature and code of one output, place by place.
    fn each_code(&self, output: usize, mut hand: impl FnMut(usize, usize, u8)) {
        let per_word = self.codes_per_word();
        let per_tile = self.in_features / per_word;
        let (tile, lane) = (output / LANES, output % LANES);
        let (width, lift) = (32 / per_word, lift(self.bits));
        let mask = u32::MAX >> (32 - width);
        let words = &self.words[tile * per_tile..(tile + 1) * per_tile];
        for (index, word) in words.iter().enumerate() {
            for offset in 0..per_word {
                let place = index * per_word + offset;
                let feature = self.order.as_ref().map_or(place, |order| order[place] as usize);
                hand(place, feature, (word.0[lane] >> (width * offset) & mask) as u8 - lift);
            }
        }
    }
}

fn codes_per_word(bits: Bits) -> usize {
    if bits == Bits::Eight { 4 } else { 8 }
}

/// What is added to a code so that the middle one is 8, or 128.
fn lift(bits: Bits) -> u8 {
    if bits == Bits::Eight { 0 } else { 8 - bits.middle() }
}

/// The input features group by group; `None` where groups have different sizes.
fn order_by_group(group_of: &[u32], groups: usize, group_size: usize) -> Option<Vec<u32>> {
    let mut order: Vec<u32> = (0..group_of.len() as u32).collect();
    order.sort_by_key(|&feature| group_of[feature as usize]);
    let in_place = |(place, &feature): (usize, &u32)| {
        group_of[feature as usize] as usize == place / group_size
    };
    (groups * group_size == order.len() && order.iter().enumerate().all(in_place)).then_some(order)
}

/// The 16-bit dtype that holds all scales exactly.
#[expect(clippy::float_cmp, reason = "whether rounding changes nothing")]
fn exact_bits(grids: &[Grid]) -> Option<ScaleBits> {
    let all = |exact: fn(f32) -> bool| grids.iter().all(|grid| exact(grid.scale));
    if all(|scale| f16::from_f32(scale).to_f32() == scale) {
        return Some(ScaleBits::Float16);
    }
    all(|scale| bf16::from_f32(scale).to_f32() == scale).then_some(ScaleBits::BFloat16)
}
