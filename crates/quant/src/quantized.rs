//! A quantised weight matrix before any format packs it.

use rayon::prelude::*;

use crate::bits::Bits;
use crate::grid::Grid;
use crate::matrix::WeightMatrix;

/// Codes and grids of a weight matrix; `group_size` neighbouring input features of one
/// output share a grid.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedWeight {
    pub(crate) bits: Bits,
    pub(crate) group_size: usize,
    pub(crate) out_features: usize,
    pub(crate) in_features: usize,
    /// `[out, in]`
    pub(crate) codes: Vec<u8>,
    /// `[out, in / group_size]`
    pub(crate) grids: Vec<Grid>,
}

impl QuantizedWeight {
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

    /// The weights that the codes stand for; exact in fp32.
    pub fn dequantize(&self) -> WeightMatrix {
        let mut values = vec![0.0; self.codes.len()];
        values
            .par_chunks_mut(self.group_size)
            .zip(self.codes.par_chunks(self.group_size))
            .zip(&self.grids)
            .for_each(|((values, codes), grid)| {
                for (value, &code) in values.iter_mut().zip(codes) {
                    *value = grid.weight(code);
                }
            });
        WeightMatrix { values, out_features: self.out_features, in_features: self.in_features }
    }
}
