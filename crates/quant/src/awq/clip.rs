//! Narrower ranges, where they lower the error of a group's share of the output.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::grid::GridRule;
use crate::hessian::Hessian;
use crate::matrix::{WeightMatrix, floats};
use crate::rtn;

/// Shares of a group's largest magnitude that weights are clipped to: 1, 0.95, …, 0.55.
const RATIOS: i32 = 10;
/// Outputs that are looked at together.
const SLAB: i64 = 2048;

/// The weights, each group clipped to the range whose rounding changes the output least:
/// least `dᵀ H d` for the differences `d` of a group, with its part of the Hessian. `None`
/// where a grid cannot be had.
///
/// # Errors
/// Failures of libtorch.
pub(crate) fn clipped(
    weight: &WeightMatrix,
    hessian: &Hessian,
    rule: GridRule,
    group_size: usize,
) -> Result<Option<WeightMatrix>> {
    let whole = hessian.matrix()?;
    let width = weight.in_features();
    let groups = (width / group_size) as i64;
    let group = group_size as i64;
    let blocks: Vec<Tensor> = (0..groups)
        .map(|index| {
            Ok(whole.f_narrow(0, index * group, group)?.f_narrow(1, index * group, group)?)
        })
        .collect::<Result<_>>()?;
    let blocks = Tensor::f_stack(&blocks, 0)?; // [groups, group, group]
    let mut values = Vec::with_capacity(weight.values().len());
    for rows in weight.values().chunks(SLAB as usize * width) {
        let outputs = rows.len() / width;
        let dense = Tensor::f_from_slice(rows)?
            .f_view([outputs as i64, groups, group])?
            .f_to_device(whole.device())?;
        let largest = dense.f_abs()?.f_amax([2], true)?; // [outputs, groups, 1]
        let mut best_error = None;
        let mut best = dense.shallow_clone();
        for step in 0..RATIOS {
            let limit = largest.f_mul_scalar(1.0 - f64::from(step) / 20.0)?;
            let narrow = dense.f_clamp_tensor(Some(&limit.f_neg()?), Some(&limit))?;
            let Some(matrix) = WeightMatrix::new(floats(&narrow)?, outputs, width) else {
                return Ok(None);
            };
            let Some(rounded) = rtn::quantize(&matrix, rule, group_size) else { return Ok(None) };
            let rounded = rounded.dequantize().to_tensor(Kind::Float, whole.device())?;
            let difference = rounded.f_view_as(&dense)?.f_sub(&dense)?.f_transpose(0, 1)?;
            let error = difference
                .f_matmul(&blocks)?
                .f_mul(&difference)?
                .f_sum_dim_intlist(2, true, Kind::Float)?
                .f_transpose(0, 1)?; // [outputs, groups, 1]
            match best_error {
                None => best_error = Some(error),
                Some(least) => {
                    let better = error.f_lt_tensor(&least)?;
                    best = narrow.f_where_self(&better, &best)?;
                    best_error = Some(error.f_minimum(&least)?);
                }
            }
        }
        values.extend(floats(&best)?);
    }
    Ok(WeightMatrix::new(values, weight.out_features(), width))
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;
    use tch::Device;

    use super::*;
    use crate::bits::Bits;

    const GROUP: usize = 32;

    fn hessian(seed: u64, width: usize) -> Hessian {
        let inputs = Tensor::from_slice(&CounterRng::new(seed).normals(200 * width));
        let mut hessian = Hessian::new(width as i64, Device::Cpu).unwrap();
        hessian.add(&inputs.view([200, width as i64])).unwrap();
        hessian
    }

    #[test]
    fn an_outlier_is_clipped_where_its_input_is_weak() {
        let mut values = CounterRng::new(1).normals(2 * GROUP);
        values[5] = 8.0;
        values[GROUP + 5] = 8.0;
        let weight = WeightMatrix::new(values, 2, GROUP).unwrap();
        let mut rule = GridRule::symmetric(Bits::Two);
        rule.signed_scale = false;
        let strength = |strength: f32| {
            let mut strengths = [1.0_f32; GROUP];
            strengths[5] = strength;
            hessian(2, GROUP).unscaled_by(&(Tensor::from_slice(&strengths).reciprocal())).unwrap()
        };
        let largest = |hessian: &Hessian| {
            let clipped = clipped(&weight, hessian, rule, GROUP).unwrap().unwrap();
            clipped.values()[..GROUP].iter().fold(0.0_f32, |most, weight| most.max(weight.abs()))
        };
        assert!(largest(&strength(0.01)) < 8.0);
        assert_eq!(largest(&strength(100.0)), 8.0);
    }

    #[test]
    fn the_output_error_of_each_group_never_grows() {
        for bits in [Bits::Three, Bits::Four] {
            for symmetric in [true, false] {
                let rule = GridRule { symmetric, ..GridRule::symmetric(bits) };
                let weight =
                    WeightMatrix::new(CounterRng::new(3).normals(24 * 64), 24, 64).unwrap();
                let hessian = hessian(4, 64);
                let clipped = clipped(&weight, &hessian, rule, GROUP).unwrap().unwrap();
                let blocks = hessian.matrix().unwrap();
                let error = |matrix: &WeightMatrix, group: i64| {
                    let part = |tensor: &Tensor| tensor.narrow(-1, group * 32, 32);
                    let rounded = rtn::quantize(matrix, rule, GROUP).unwrap().dequantize();
                    let dense =
                        |matrix: &WeightMatrix| matrix.to_tensor(Kind::Float, Device::Cpu).unwrap();
                    let difference = part(&(dense(&rounded) - dense(&weight)));
                    let block = part(&blocks).narrow(0, group * 32, 32);
                    (difference.matmul(&block) * difference).sum(Kind::Float).double_value(&[])
                };
                for group in 0..2 {
                    let (before, after) = (error(&weight, group), error(&clipped, group));
                    assert!(after < 0.98 * before, "{bits:?} {symmetric}: {after}, was {before}");
                }
            }
        }
    }
}
