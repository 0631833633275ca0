//! A quantised weight matrix before any format packs it, and after one was read.

use rayon::prelude::*;

use crate::bits::Bits;
use crate::grid::Grid;
use crate::matrix::WeightMatrix;

/// Codes and grids of a weight matrix.
///
/// Input features of one output share a grid in groups of `group_size`: neighbours, unless
/// [`Self::group_of`] says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedWeight {
    pub(crate) bits: Bits,
    pub(crate) group_size: usize,
    pub(crate) out_features: usize,
    pub(crate) in_features: usize,
    /// `[out, in]`
    pub(crate) codes: Vec<u8>,
    /// `[out, groups]`
    pub(crate) grids: Vec<Grid>,
    /// `[in]`; `None` where neighbours make a group.
    pub(crate) group_of: Option<Vec<u32>>,
}

impl QuantizedWeight {
    /// A matrix of these codes and grids in groups of neighbours; `None` where their numbers do
    /// not fit.
    pub fn new(
        bits: Bits,
        group_size: usize,
        (out_features, in_features): (usize, usize),
        codes: Vec<u8>,
        grids: Vec<Grid>,
    ) -> Option<Self> {
        let fits = group_size > 0
            && in_features.is_multiple_of(group_size)
            && codes.len() == out_features * in_features
            && grids.len() == out_features * (in_features / group_size);
        fits.then_some(Self {
            bits,
            group_size,
            out_features,
            in_features,
            codes,
            grids,
            group_of: None,
        })
    }

    /// The same matrix whose input feature `k` belongs to group `group_of[k]`, as files in
    /// order of activation have it; `None` where there is no such group.
    #[must_use]
    pub fn with_groups(mut self, group_of: Vec<u32>) -> Option<Self> {
        let groups = self.num_groups() as u32;
        if group_of.len() != self.in_features || group_of.iter().any(|&group| group >= groups) {
            return None;
        }
        let in_place =
            |(feature, &group): (usize, &u32)| group as usize == feature / self.group_size;
        self.group_of = (!group_of.iter().enumerate().all(in_place)).then_some(group_of);
        Some(self)
    }

    /// Width of the codes.
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// Input features that share a grid.
    pub fn group_size(&self) -> usize {
        self.group_size
    }

    /// Groups of one output.
    pub fn num_groups(&self) -> usize {
        self.in_features / self.group_size
    }

    /// Rows of the matrix.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Columns of the matrix.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// The codes, `[out, in]`.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// The grids, `[out, groups]`.
    pub fn grids(&self) -> &[Grid] {
        &self.grids
    }

    /// The group of each input feature, `[in]`; `None` where neighbours make a group.
    pub fn group_of(&self) -> Option<&[u32]> {
        self.group_of.as_deref()
    }

    /// Whether every zero is the middle code.
    pub fn is_symmetric(&self) -> bool {
        self.grids.iter().all(|grid| grid.zero == self.bits.middle())
    }

    /// The weights that the codes stand for.
    pub fn dequantize(&self) -> WeightMatrix {
        let mut values = vec![0.0; self.codes.len()];
        let row = self.in_features.max(1);
        values
            .par_chunks_mut(row)
            .zip(self.codes.par_chunks(row))
            .zip(self.grids.par_chunks(self.num_groups().max(1)))
            .for_each(|((values, codes), grids)| match &self.group_of {
                None => {
                    let groups =
                        values.chunks_mut(self.group_size).zip(codes.chunks(self.group_size));
                    for ((values, codes), grid) in groups.zip(grids) {
                        for (value, &code) in values.iter_mut().zip(codes) {
                            *value = grid.weight(code);
                        }
                    }
                }
                Some(group_of) => {
                    for ((value, &code), &group) in values.iter_mut().zip(codes).zip(group_of) {
                        *value = grids[group as usize].weight(code);
                    }
                }
            });
        WeightMatrix { values, out_features: self.out_features, in_features: self.in_features }
    }
}
