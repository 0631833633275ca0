//! GPTQ: rounds the input features of a layer one after another and spreads each error
//! over the features still to come, so that the layer's output on the calibration inputs
//! changes least (Frantar et al., "GPTQ: Accurate Post-Training Quantization for
//! Generative Pre-trained Transformers", 2022, algorithm 1).
//!
//! For feature `i` of an output, with `U = Lᵀ` from [`Factor`]:
//! `e = (w_i − ŵ_i) / U_ii`, then `w_j −= e · U_ij` for all `j > i`. A group's grid is
//! chosen when its first feature is reached, from weights that hold all earlier
//! corrections. Features may be solved in another order ([`crate::Order`]).
//!
//! Outputs do not influence each other. Tiles of them go to threads as they are free.

use rayon::prelude::*;

use crate::grid::{Grid, GridRule};
use crate::hessian::Factor;
use crate::matrix::WeightMatrix;
use crate::quantized::QuantizedWeight;
use crate::tile::{BLOCK, LANES, Plan, solve};

/// Quantises a weight along the factor.
///
/// `None` where a weight is not finite (or became so), a scale exceeds f16, the factor
/// belongs to another width or other groups, or the groups are not whole: several groups of one output
/// must hold 32, 64, 128 or whole multiples of 128 features.
pub fn quantize(
    weight: &WeightMatrix,
    factor: &Factor,
    rule: GridRule,
    group_size: usize,
) -> Option<QuantizedWeight> {
    let (out_features, in_features) = (weight.out_features(), weight.in_features());
    let other_groups = factor.group_size.is_some_and(|size| size != group_size);
    let square = factor.lower.len() == in_features * in_features;
    if !square || other_groups || !groups_fit(in_features, group_size) {
        return None;
    }
    let num_groups = in_features / group_size;
    let plan = Plan {
        lower: &factor.lower,
        order: factor.order.as_deref(),
        correction: factor.correction.as_deref(),
        static_grids: factor.static_grids,
        rule,
        group_size,
        in_features,
    };
    let mut codes = vec![0; weight.values().len()];
    let unset = Grid { scale: 1.0, zero: 0 };
    let mut grids = vec![unset; out_features * num_groups];
    let solved = codes
        .par_chunks_mut(LANES * in_features)
        .zip(grids.par_chunks_mut(LANES * num_groups))
        .zip(weight.values().par_chunks(LANES * in_features))
        .map(|((codes, grids), weights)| solve(&plan, weights, codes, grids))
        .reduce(|| Some(()), Option::and);
    solved?;
    QuantizedWeight::new(rule.bits, group_size, (out_features, in_features), codes, grids)
}

/// Whether every group lies within a block of the solver or starts with one.
fn groups_fit(in_features: usize, group_size: usize) -> bool {
    group_size > 0
        && in_features.is_multiple_of(group_size)
        && (group_size == in_features
            || matches!(group_size, 32 | 64)
            || group_size.is_multiple_of(BLOCK))
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::bits::Bits;
    use crate::hessian::Hessian;
    use crate::order::Order;
    use crate::rtn;

    /// More than a block of the solver, and no multiple of one.
    const IN: usize = 192;
    const OUT: usize = 21;
    const ORDERS: [Order; 3] = [Order::None, Order::Activation, Order::Groups];

    fn weights(seed: u64) -> WeightMatrix {
        WeightMatrix::new(CounterRng::new(seed).normals(OUT * IN), OUT, IN).unwrap()
    }

    /// Inputs whose features are mixtures of a few sources, of very different strength.
    fn correlated_inputs(seed: u64, tokens: usize) -> Tensor {
        let mut rng = CounterRng::new(seed);
        let mut values = vec![0.0_f32; tokens * IN];
        let mixing = rng.normals(8 * IN);
        for token in values.chunks_mut(IN) {
            let sources = rng.normals(8);
            let noise = rng.normals(IN);
            for (feature, value) in token.iter_mut().enumerate() {
                let shared: f32 =
                    (0..8).map(|source| sources[source] * mixing[source * IN + feature]).sum();
                *value = (shared + 0.5 * noise[feature]) * (1.0 + (feature % 7) as f32);
            }
        }
        Tensor::from_slice(&values).view([tokens as i64, IN as i64])
    }

    fn hessian_of(inputs: &Tensor) -> Hessian {
        let mut hessian = Hessian::new(IN as i64, Device::Cpu).unwrap();
        hessian.add(inputs).unwrap();
        hessian
    }

    /// For each place of the order: the row of the features still to come in the inverse
    /// of their damped Hessian. Solved anew each time in f64, without any factor.
    fn inverse_rows(inputs: &Tensor, damping: f64, order: &[usize]) -> Vec<Vec<f64>> {
        let inputs = inputs.to_kind(Kind::Double);
        let sum = inputs.tr().matmul(&inputs);
        let mean = sum.trace().double_value(&[]) / IN as f64;
        let damped = sum + Tensor::eye(IN as i64, (Kind::Double, Device::Cpu)) * (damping * mean);
        let hessian = Vec::<f64>::try_from(damped.view(-1)).unwrap();
        (0..IN)
            .map(|place| {
                let rest = &order[place..];
                solve_for_first(
                    rest.iter()
                        .map(|&row| rest.iter().map(|&column| hessian[row * IN + column]).collect())
                        .collect(),
                )
            })
            .collect()
    }

    /// The solution of `matrix · x = (1, 0, 0, …)` by elimination with pivoting.
    fn solve_for_first(mut matrix: Vec<Vec<f64>>) -> Vec<f64> {
        let size = matrix.len();
        for (index, row) in matrix.iter_mut().enumerate() {
            row.push(if index == 0 { 1.0 } else { 0.0 });
        }
        for column in 0..size {
            let pivot = (column..size)
                .max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()))
                .unwrap();
            matrix.swap(column, pivot);
            let (done, below) = matrix.split_at_mut(column + 1);
            let pivot = &done[column];
            for row in below {
                let factor = row[column] / pivot[column];
                for (element, pivot) in row[column..].iter_mut().zip(&pivot[column..]) {
                    *element -= factor * pivot;
                }
            }
        }
        let mut solution = vec![0.0; size];
        for index in (0..size).rev() {
            let row = &matrix[index];
            let known: f64 = (index + 1..size).map(|other| row[other] * solution[other]).sum();
            solution[index] = (row[size] - known) / row[index];
        }
        solution
    }

    /// Optimal brain surgery as defined, in f64: once a feature is rounded, the features
    /// still to come move by `−error / inverse[0] · inverse`.
    fn reference(
        weight: &WeightMatrix,
        inverse_rows: &[Vec<f64>],
        rule: GridRule,
        group_size: usize,
        factor: &Factor,
    ) -> QuantizedWeight {
        let ascending: Vec<usize> = (0..IN).collect();
        let features = factor.order.as_deref().unwrap_or(&ascending);
        let num_groups = IN / group_size;
        let original: Vec<f64> = weight.values().iter().map(|&weight| f64::from(weight)).collect();
        let mut current = original.clone();
        let mut codes = vec![0; OUT * IN];
        let mut grids: Vec<Option<Grid>> = vec![None; OUT * num_groups];
        for place in 0..IN {
            let feature = features[place];
            let inverse = &inverse_rows[place];
            for output in 0..OUT {
                let row = &mut current[output * IN..(output + 1) * IN];
                let group = feature / group_size;
                let grid = *grids[output * num_groups + group].get_or_insert_with(|| {
                    // In order of activation, grids come from the original weights.
                    let source: &[f64] = if factor.static_grids {
                        &original[output * IN..(output + 1) * IN]
                    } else {
                        row
                    };
                    let group: Vec<f32> = source[group * group_size..(group + 1) * group_size]
                        .iter()
                        .map(|&weight| weight as f32)
                        .collect();
                    rule.fit(&group).unwrap()
                });
                let code = grid.code(row[feature] as f32, rule.bits);
                codes[output * IN + feature] = code;
                let error = row[feature] - f64::from(grid.weight(code));
                for (&other, element) in features[place..].iter().zip(inverse) {
                    row[other] -= error / inverse[0] * element;
                }
            }
        }
        QuantizedWeight {
            bits: rule.bits,
            group_size,
            out_features: OUT,
            in_features: IN,
            codes,
            grids: grids.into_iter().map(Option::unwrap).collect(),
            group_of: None,
        }
    }

    fn output_error(hessian: &Hessian, weight: &WeightMatrix, quantized: &QuantizedWeight) -> f64 {
        let dense = |matrix: &WeightMatrix| matrix.to_tensor(Kind::Float, Device::Cpu).unwrap();
        hessian.output_error(&dense(weight), &dense(&quantized.dequantize())).unwrap()
    }

    #[test]
    fn equals_the_slow_definition() {
        let weight = weights(20);
        let inputs = correlated_inputs(21, 400);
        let hessian = hessian_of(&inputs);
        for (order, group_size) in
            ORDERS.into_iter().flat_map(|order| [32, 64, IN].map(|size| (order, size)))
        {
            let factor = hessian.factor(0.01, order, group_size).unwrap().unwrap();
            let ascending: Vec<usize> = (0..IN).collect();
            let features = factor.order.as_deref().unwrap_or(&ascending);
            let inverse_rows = inverse_rows(&inputs, 0.01, features);
            for bits in [Bits::Four, Bits::Eight] {
                for symmetric in [true, false] {
                    let rule = GridRule { symmetric, ..GridRule::symmetric(bits) };
                    let fast = quantize(&weight, &factor, rule, group_size).unwrap();
                    let slow = reference(&weight, &inverse_rows, rule, group_size, &factor);
                    let case = format!("{bits:?} {group_size} {symmetric} {order:?}");

                    // Rounding noise may tip a weight between two levels, and all
                    // later ones of its row follow a different path from there.
                    let rows_equal = (0..OUT)
                        .filter(|output| {
                            let row = output * IN..(output + 1) * IN;
                            fast.codes[row.clone()] == slow.codes[row]
                        })
                        .count();
                    let tipped = if bits == Bits::Four { 1 } else { 4 };
                    assert!(rows_equal >= OUT - tipped, "{case}: {rows_equal} rows equal");
                    let errors = [&fast, &slow].map(|codes| output_error(&hessian, &weight, codes));
                    assert!((errors[0] / errors[1] - 1.0).abs() < 0.01, "{case}: {errors:?}");
                }
            }
        }
    }

    #[test]
    fn beats_rounding_on_correlated_inputs() {
        for seed in 30..34 {
            let weight = weights(seed);
            let hessian = hessian_of(&correlated_inputs(seed + 100, 400));
            for order in ORDERS {
                for group_size in [32, IN] {
                    let rule = GridRule::symmetric(Bits::Four);
                    let factor = hessian.factor(0.01, order, group_size).unwrap().unwrap();
                    let gptq = quantize(&weight, &factor, rule, group_size).unwrap();
                    let rounded = rtn::quantize(&weight, rule, group_size).unwrap();
                    let [gptq, rounded] =
                        [gptq, rounded].map(|codes| output_error(&hessian, &weight, &codes));
                    assert!(gptq < 0.7 * rounded, "{seed} {order:?}: {gptq}, RTN {rounded}");
                }
            }
        }
    }

    #[test]
    fn is_rounding_when_inputs_are_uncorrelated() {
        let mut identity = vec![0.0; IN * IN];
        for index in 0..IN {
            identity[index * IN + index] = 1.0;
        }
        let factor = Factor::from_lower(identity, IN).unwrap();
        let weight = weights(40);
        for bits in [Bits::Four, Bits::Eight] {
            for mse_search in [false, true] {
                let rule = GridRule { mse_search, ..GridRule::symmetric(bits) };
                let gptq = quantize(&weight, &factor, rule, 32).unwrap();
                assert_eq!(gptq, rtn::quantize(&weight, rule, 32).unwrap());
            }
        }
    }

    #[test]
    fn what_cannot_be_solved_is_refused() {
        let rule = GridRule::symmetric(Bits::Four);
        let factor = hessian_of(&correlated_inputs(50, 200)).factor(0.01, Order::Groups, 32);
        let factor = factor.unwrap().unwrap();
        assert_eq!(quantize(&weights(51), &factor, rule, 64), None);
        assert_eq!(quantize(&weights(51), &factor, rule, 40), None);
        assert_eq!(quantize(&weights(51), &factor, rule, 48), None);
        let narrow = WeightMatrix::new(vec![1.0; 64], 2, 32).unwrap();
        assert_eq!(quantize(&narrow, &factor, rule, 32), None);
        let mut values = weights(51).values().to_vec();
        values[IN + 3] = f32::NAN;
        let bad = WeightMatrix::new(values, OUT, IN).unwrap();
        assert_eq!(quantize(&bad, &factor, rule, 32), None);
    }
}
