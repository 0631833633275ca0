//! The arithmetic of GPTQ for a tile of outputs.
//!
//! A tile holds the weights of [`LANES`] outputs, feature by feature, so that one vector
//! instruction serves several outputs and the factor's elements are scalars. Corrections
//! are lazy on two levels: within a sub-block a feature gathers the errors before it just
//! before it is rounded; the rest of the block is corrected after each sub-block and the
//! rest of the row after each block. Rows of the lower factor are read contiguously.

use crate::grid::{Grid, GridRule, round_small};

/// Outputs of a tile: two AVX registers.
pub(crate) const LANES: usize = 16;
/// Features whose errors reach the rest of the row at once.
pub(crate) const BLOCK: usize = 128;
/// Features whose errors reach the rest of their block at once. Divides every group size
/// but that of one group a row.
const SUB_BLOCK: usize = 32;
/// Features corrected side by side: with [`LANES`], as many accumulators as the
/// registers hold.
const STRIP: usize = 6;
type Lanes = [f32; LANES];

/// What all tiles of a layer share.
pub(crate) struct Plan<'a> {
    /// `[in, in]`, solving order.
    pub(crate) lower: &'a [f32],
    pub(crate) order: Option<&'a [usize]>,
    /// `[in, in]`, strictly lower triangular, solving order: how a weight moves those after
    /// it, before it is rounded.
    pub(crate) correction: Option<&'a [f32]>,
    /// Whether all grids are chosen before anything is solved, from the original weights.
    pub(crate) static_grids: bool,
    pub(crate) rule: GridRule,
    pub(crate) group_size: usize,
    pub(crate) in_features: usize,
}

/// Quantises up to [`LANES`] outputs; `None` where a grid cannot be had or a correction
/// is not finite.
///
/// # Shapes
/// Weights and codes `[outputs, in]`, grids `[outputs, groups]`, all in feature order.
pub(crate) fn solve(
    plan: &Plan<'_>,
    weights: &[f32],
    codes: &mut [u8],
    grids: &mut [Grid],
) -> Option<()> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { solve_avx2(plan, weights, codes, grids) };
    }
    solve_with::<false>(plan, weights, codes, grids)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn solve_avx2(
    plan: &Plan<'_>,
    weights: &[f32],
    codes: &mut [u8],
    grids: &mut [Grid],
) -> Option<()> {
    solve_with::<true>(plan, weights, codes, grids)
}

/// `FUSED` uses the fused multiply-add, which is a slow library call where the processor
/// has none.
#[expect(clippy::inline_always, reason = "compiled anew for each set of instructions")]
#[inline(always)]
fn solve_with<const FUSED: bool>(
    plan: &Plan<'_>,
    weights: &[f32],
    codes: &mut [u8],
    grids: &mut [Grid],
) -> Option<()> {
    let width = plan.in_features;
    let outputs = weights.len() / width;
    let num_groups = width / plan.group_size;
    let feature_at = |place: usize| plan.order.map_or(place, |order| order[place]);

    let mut tile = vec![[0.0; LANES]; width];
    for (place, lanes) in tile.iter_mut().enumerate() {
        let feature = feature_at(place);
        for (lane, weight) in lanes.iter_mut().take(outputs).enumerate() {
            *weight = weights[lane * width + feature];
        }
    }
    // Lanes beyond the outputs keep weights of 0 and harmless grids.
    let mut levels = vec![Levels::default(); num_groups];
    if plan.static_grids {
        for (group, levels) in levels.iter_mut().enumerate() {
            for lane in 0..outputs {
                let start = lane * width + group * plan.group_size;
                let grid = plan.rule.fit(&weights[start..start + plan.group_size])?;
                levels.set(lane, grid);
                grids[lane * num_groups + group] = grid;
            }
        }
    }

    let max_code = f32::from(plan.rule.bits.max_code());
    let mut errors = [[0.0; LANES]; BLOCK];
    // What the correction is multiplied by, so that it is subtracted as errors are.
    let mut negated = [[0.0; LANES]; BLOCK];
    let mut group_weights = vec![0.0; plan.group_size];
    for block in (0..width).step_by(BLOCK) {
        let block_end = (block + BLOCK).min(width);
        for sub in (block..block_end).step_by(SUB_BLOCK) {
            let sub_end = (sub + SUB_BLOCK).min(block_end);
            if !plan.static_grids && sub % plan.group_size == 0 {
                // Here groups are whole in solving order too.
                let group = feature_at(sub) / plan.group_size;
                for lane in 0..outputs {
                    for (weight, lanes) in group_weights.iter_mut().zip(&tile[sub..]) {
                        *weight = lanes[lane];
                    }
                    let grid = plan.rule.fit(&group_weights)?;
                    levels[group].set(lane, grid);
                    grids[lane * num_groups + group] = grid;
                }
            }
            for place in sub..sub_end {
                let row = &plan.lower[place * width..=place * width + place];
                let mut weight = tile[place];
                for (error, &factor) in errors[sub - block..place - block].iter().zip(&row[sub..]) {
                    subtract::<FUSED>(&mut weight, error, factor);
                }
                if let Some(correction) = plan.correction {
                    let row = &correction[place * width..=place * width + place];
                    let before = &negated[sub - block..place - block];
                    for (before, &factor) in before.iter().zip(&row[sub..]) {
                        subtract::<FUSED>(&mut weight, before, factor);
                    }
                    negated[place - block] = weight.map(|weight| -weight);
                }
                let feature = feature_at(place);
                let levels = &levels[feature / plan.group_size];
                let mut lane_codes = [0.0; LANES];
                let error = &mut errors[place - block];
                for lane in 0..LANES {
                    let (scale, zero) = (levels.scale[lane], levels.zero[lane]);
                    let steps = (weight[lane] / scale).clamp(-zero, max_code - zero);
                    let steps = round_small(steps);
                    lane_codes[lane] = steps + zero;
                    error[lane] = (weight[lane] - steps * scale) / row[place];
                }
                for (lane, code) in lane_codes.iter().take(outputs).enumerate() {
                    codes[lane * width + feature] = *code as u8;
                }
            }
            let done = &errors[sub - block..sub_end - block];
            let rest = sub_end..block_end;
            correct::<FUSED>(&mut tile[rest.clone()], done, plan.lower, rest.start, sub, width);
            if let Some(correction) = plan.correction {
                let before = &negated[sub - block..sub_end - block];
                correct::<FUSED>(
                    &mut tile[rest.clone()],
                    before,
                    correction,
                    rest.start,
                    sub,
                    width,
                );
            }
        }
        let done = &errors[..block_end - block];
        correct::<FUSED>(&mut tile[block_end..], done, plan.lower, block_end, block, width);
        if let Some(correction) = plan.correction {
            let before = &negated[..block_end - block];
            correct::<FUSED>(&mut tile[block_end..], before, correction, block_end, block, width);
        }
        if !done.as_flattened().iter().all(|error| error.is_finite()) {
            return None;
        }
    }
    Some(())
}

/// The grids of one group, lane by lane.
#[derive(Clone)]
struct Levels {
    scale: Lanes,
    zero: Lanes,
}

impl Default for Levels {
    fn default() -> Self {
        Self { scale: [1.0; LANES], zero: [0.0; LANES] }
    }
}

impl Levels {
    fn set(&mut self, lane: usize, grid: Grid) {
        self.scale[lane] = grid.scale;
        self.zero[lane] = f32::from(grid.zero);
    }
}

/// Subtracts from each feature of `tile` (the first is number `first`) the errors of the
/// features from number `from` on, weighted by the factor.
#[expect(clippy::inline_always, reason = "compiled anew for each set of instructions")]
#[inline(always)]
fn correct<const FUSED: bool>(
    tile: &mut [Lanes],
    errors: &[Lanes],
    lower: &[f32],
    first: usize,
    from: usize,
    width: usize,
) {
    let row = |place: usize| &lower[(first + place) * width + from..][..errors.len()];
    let mut strips = tile.chunks_exact_mut(STRIP);
    let mut place = 0;
    for strip in &mut strips {
        let mut sums = [[0.0; LANES]; STRIP];
        sums.copy_from_slice(strip);
        let rows: [&[f32]; STRIP] = std::array::from_fn(|offset| row(place + offset));
        for (index, error) in errors.iter().enumerate() {
            for (sum, row) in sums.iter_mut().zip(rows) {
                subtract::<FUSED>(sum, error, row[index]);
            }
        }
        strip.copy_from_slice(&sums);
        place += STRIP;
    }
    for weight in strips.into_remainder() {
        for (error, &factor) in errors.iter().zip(row(place)) {
            subtract::<FUSED>(weight, error, factor);
        }
        place += 1;
    }
}

#[expect(clippy::inline_always, reason = "compiled anew for each set of instructions")]
#[inline(always)]
fn subtract<const FUSED: bool>(weight: &mut Lanes, error: &Lanes, factor: f32) {
    for (weight, &error) in weight.iter_mut().zip(error) {
        *weight = if FUSED { error.mul_add(-factor, *weight) } else { *weight - error * factor };
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;
    use crate::bits::Bits;

    #[test]
    fn the_portable_and_the_vector_code_agree() {
        let width = 192;
        let mut rng = CounterRng::new(11);
        let weights = rng.normals(5 * width);
        let mut lower = vec![0.0; width * width];
        for row in 0..width {
            lower[row * width + row] = 1.0;
            for column in 0..row {
                lower[row * width + column] = 0.3 * rng.next_f64() as f32 / width as f32;
            }
        }
        let plan = Plan {
            lower: &lower,
            order: None,
            correction: None,
            static_grids: false,
            rule: GridRule::symmetric(Bits::Eight),
            group_size: 64,
            in_features: width,
        };
        let unset = Grid { scale: 1.0, zero: 0 };
        let (mut codes, mut grids) = (vec![0; 5 * width], vec![unset; 15]);
        let (mut portable_codes, mut portable_grids) = (codes.clone(), grids.clone());
        solve(&plan, &weights, &mut codes, &mut grids).unwrap();
        solve_with::<false>(&plan, &weights, &mut portable_codes, &mut portable_grids).unwrap();
        let differing = codes.iter().zip(&portable_codes).filter(|(a, b)| a != b).count();
        // A fused product may tip a tie.
        assert!(differing <= codes.len() / 100, "{differing} codes differ");
        for (grid, portable) in grids.iter().zip(&portable_grids) {
            assert!((grid.scale / portable.scale - 1.0).abs() < 1e-3);
        }
    }
}
