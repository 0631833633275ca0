//! Round to nearest: each weight by itself, without calibration. The baseline that every
//! other method must beat.

use rayon::prelude::*;

use crate::grid::{Grid, GridRule};
use crate::matrix::WeightMatrix;
use crate::quantized::QuantizedWeight;

/// Rounds every weight to its group's grid.
///
/// `None` where the input features are not whole groups, a weight is not finite or a
/// scale exceeds f16.
pub fn quantize(
    weight: &WeightMatrix,
    rule: GridRule,
    group_size: usize,
) -> Option<QuantizedWeight> {
    let (out_features, in_features) = (weight.out_features(), weight.in_features());
    if group_size == 0 || !in_features.is_multiple_of(group_size) {
        return None;
    }
    let grids: Vec<Grid> = weight
        .values()
        .par_chunks(group_size)
        .map(|weights| rule.fit(weights))
        .collect::<Option<_>>()?;
    let mut codes = vec![0; weight.values().len()];
    codes
        .par_chunks_mut(group_size)
        .zip(weight.values().par_chunks(group_size))
        .zip(&grids)
        .for_each(|((codes, weights), grid)| {
            for (code, &weight) in codes.iter_mut().zip(weights) {
                *code = grid.code(weight, rule.bits);
            }
        });
    QuantizedWeight::new(rule.bits, group_size, (out_features, in_features), codes, grids)
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;
    use crate::bits::Bits;

    #[test]
    fn each_group_is_rounded_by_its_own_grid() {
        let rule = GridRule::symmetric(Bits::Four);
        // Two outputs of two groups of two.
        let values = vec![-8.0, 3.2, 0.8, -0.1, 1.6, 0.0, 0.0, 0.0];
        let weight = WeightMatrix::new(values, 2, 4).unwrap();
        let quantized = quantize(&weight, rule, 2).unwrap();
        let scales: Vec<f32> = quantized.grids().iter().map(|grid| grid.scale).collect();
        assert_eq!(
            scales,
            [1.0, half::f16::from_f32(-0.1).to_f32(), half::f16::from_f32(-0.2).to_f32(), 1.0]
        );
        assert_eq!(quantized.codes(), [0, 11, 0, 9, 0, 8, 8, 8]);
        let rounded = quantized.dequantize();
        assert_eq!(rounded.values()[..2], [-8.0, 3.0]);
        assert!(weight.relative_error(&rounded) < 0.03);
    }

    #[test]
    fn eight_bits_err_a_sixteenth_as_much_as_four() {
        let weight = WeightMatrix::new(CounterRng::new(5).normals(64 * 128), 64, 128).unwrap();
        let error = |bits| {
            let rule = GridRule { symmetric: false, ..GridRule::symmetric(bits) };
            weight.relative_error(&quantize(&weight, rule, 64).unwrap().dequantize())
        };
        let ratio = error(Bits::Four) / error(Bits::Eight);
        assert!((ratio - 17.0).abs() < 1.0, "{ratio}");
    }

    #[test]
    fn partial_groups_and_bad_weights_are_refused() {
        let rule = GridRule::symmetric(Bits::Four);
        let weight = WeightMatrix::new(vec![1.0; 12], 2, 6).unwrap();
        assert_eq!(quantize(&weight, rule, 4), None);
        let weight = WeightMatrix::new(vec![f32::NAN; 12], 2, 6).unwrap();
        assert_eq!(quantize(&weight, rule, 6), None);
    }
}
