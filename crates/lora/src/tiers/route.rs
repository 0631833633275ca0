//! What the rows of the next forward passes use. Every tiered projection of a decoder looks
//! here, so that switching adapters is replacing this, and touches no weight.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use tch::{Device, Kind, Tensor};

use crate::Result;

use super::scaling::{Scaling, add_update};
use super::union::{Layout, Part, Separate, Union};
use super::{TierError, lock};

/// What another matrix product costs at least, in multiply-adds: a few microseconds.
const CALL_COST: i64 = 150_000;

/// The adapters of the rows, until the next route.
#[derive(Debug, Default)]
pub(super) struct Route {
    /// Rows that the batch must have, if each has a stack of its own.
    rows: Option<usize>,
    /// All rows with the set of all their adapters; none for the base alone.
    whole: Option<Portion>,
    /// The rows by their sets of adapters, if there are several: rows without any are in
    /// none.
    groups: Vec<Portion>,
}

/// Rows that are computed together.
#[derive(Debug)]
struct Portion {
    union: Arc<Mutex<Union>>,
    /// Indices of the rows, ascending.
    rows: Vec<usize>,
    /// For each of the rows, or once for all, the gates by the set's adapters.
    gates: Vec<Vec<f64>>,
    /// By the set's layouts, made when a projection has it.
    scalings: Vec<Option<Scaling>>,
}

/// Rows of one set of adapters.
pub(super) struct Members {
    pub(super) union: Arc<Mutex<Union>>,
    pub(super) rows: Vec<usize>,
    pub(super) gates: Vec<Vec<f64>>,
}

impl Route {
    /// All rows, however many, with one stack.
    pub(super) fn uniform(union: Arc<Mutex<Union>>, gates: Vec<f64>) -> Self {
        let whole = Members { union, rows: Vec::new(), gates: vec![gates] };
        Self { rows: None, whole: Some(Portion::new(whole)), groups: Vec::new() }
    }

    /// Rows with stacks of their own; `groups` are those that have any adapter.
    pub(super) fn mixed(whole: Members, groups: Vec<Members>) -> Self {
        let rows = Some(whole.rows.len());
        let groups = groups.into_iter().map(Portion::new).collect();
        let mut route = Self { rows, whole: Some(Portion::new(whole)), groups };
        route.drop_groups_of_one();
        route
    }

    /// The base alone, for so many rows.
    pub(super) fn base(rows: usize) -> Self {
        Self { rows: Some(rows), whole: None, groups: Vec::new() }
    }

    /// Where one group has all rows, it is the batch.
    fn drop_groups_of_one(&mut self) {
        if let [group] = self.groups.as_slice()
            && Some(group.rows.len()) == self.rows
        {
            self.whole = self.groups.pop();
        }
    }

    /// Goes on with these rows only, in this order, and with the very adapters that the
    /// batch began with.
    pub(super) fn keep(&mut self, kept: &[usize]) -> Result<()> {
        let Some(rows) = self.rows else { return Ok(()) };
        if let Some(&row) = kept.iter().find(|&&row| row >= rows) {
            return Err(TierError::NoSuchRow { row, rows }.into());
        }
        self.rows = Some(kept.len());
        let groups = std::mem::take(&mut self.groups);
        let grouped = !groups.is_empty();
        self.groups = groups.into_iter().filter_map(|group| group.keep(kept)).collect();
        let only_base = grouped && self.groups.is_empty();
        self.whole = self.whole.take().and_then(|whole| whole.keep(kept)).filter(|_| !only_base);
        self.drop_groups_of_one();
        Ok(())
    }

    /// Whether an adapter's version has part in it.
    pub(super) fn uses(&self, version: u64) -> bool {
        let whole = self.whole.as_ref();
        whole.is_some_and(|whole| lock(&whole.union).versions().contains(&version))
    }

    /// Adds the rows' updates to the base's `output`.
    ///
    /// # Shapes
    /// `input` `[rows, .., in_features]`, `output` `[rows, .., out_features]` → the same.
    pub(super) fn apply(
        &mut self,
        projection: usize,
        input: &Tensor,
        output: Tensor,
    ) -> Result<Tensor> {
        let (Some(whole), rows) = (&mut self.whole, self.rows) else { return Ok(output) };
        let found = input.size().first().copied().unwrap_or_default();
        if let Some(routed) = rows.filter(|&rows| rows as i64 != found) {
            return Err(TierError::Rows { routed, found }.into());
        }
        let in_place = !output.requires_grad() && output.is_contiguous();
        if in_place
            && !self.groups.is_empty()
            && grouping_pays(whole, &self.groups, projection, input, &output)
        {
            for group in &mut self.groups {
                group.add_to_rows(projection, input, &output)?;
            }
            return Ok(output);
        }
        whole.add(projection, input, output)
    }

    /// The update that all rows have, f32 `[out_features, in_features]`.
    ///
    /// # Errors
    /// [`TierError::NoOneWeight`].
    pub(super) fn delta_weight(&self, projection: usize) -> Result<Option<Tensor>> {
        let Some(whole) = &self.whole else { return Ok(None) };
        let Some((gates, others)) = whole.gates.split_first() else { return Ok(None) };
        if others.iter().any(|other| other != gates) {
            return Err(TierError::NoOneWeight.into());
        }
        let mut sum: Option<Tensor> = None;
        for Separate { lora_a, lora_b, part, .. } in lock(&whole.union).separate(projection) {
            let (lora_a, lora_b) = (lora_a.f_detach()?, lora_b.f_detach()?);
            let product =
                lora_b.f_to_kind(Kind::Float)?.f_matmul(&lora_a.f_to_kind(Kind::Float)?)?;
            let delta = product.f_mul_scalar(gates[part.member] * part.scale)?;
            sum = Some(match sum {
                Some(sum) => sum.f_add(&delta)?,
                None => delta,
            });
        }
        Ok(sum)
    }
}

/// Whether to compute each set of adapters on its own rows, instead of all of them on all
/// rows and masking what is not theirs. Only rows that lie beside each other can be: to copy
/// them out of the batch and back costs about what it saves.
fn grouping_pays(
    whole: &Portion,
    groups: &[Portion],
    projection: usize,
    input: &Tensor,
    output: &Tensor,
) -> bool {
    let (in_features, out_features) = (last(input), last(output));
    let rows = whole.rows.len() as i64;
    let seq = input.numel() as i64 / (rows * in_features).max(1);
    let cost = |portion: &Portion| {
        let mut union = lock(&portion.union);
        let rank = union.layout(projection).map_or(0, |(_, layout)| layout.rank());
        portion.rows.len() as i64 * seq * rank * (in_features + out_features)
    };
    let apart: i64 = groups.iter().map(|group| cost(group) + CALL_COST).sum();
    apart < cost(whole) && groups.iter().all(|group| group.range().is_some())
}

fn last(tensor: &Tensor) -> i64 {
    tensor.size().last().copied().unwrap_or_default()
}

impl Portion {
    fn new(members: Members) -> Self {
        let Members { union, rows, gates } = members;
        Self { union, rows, gates, scalings: Vec::new() }
    }

    /// The rows that go on, by their new indices; none if there is none.
    fn keep(self, kept: &[usize]) -> Option<Self> {
        let (mut rows, mut gates) = (Vec::new(), Vec::new());
        for (new, old) in kept.iter().enumerate() {
            if let Ok(place) = self.rows.binary_search(old) {
                rows.push(new);
                gates.push(self.gates[place].clone());
            }
        }
        (!rows.is_empty()).then(|| Self::new(Members { union: self.union, rows, gates }))
    }

    /// The rows, if they lie beside each other.
    fn range(&self) -> Option<Range<i64>> {
        let (&first, &last) = (self.rows.first()?, self.rows.last()?);
        (last - first + 1 == self.rows.len()).then(|| first as i64..last as i64 + 1)
    }

    /// Adds the update to all rows.
    fn add(&mut self, projection: usize, input: &Tensor, output: Tensor) -> Result<Tensor> {
        if lock(&self.union).in_training {
            return self.add_separately(projection, input, output);
        }
        let options = (input.f_kind()?, input.device());
        let Some((a, b, scaling)) = self.factors(projection, options)? else { return Ok(output) };
        add_update(output, input, (&a, &b), scaling)
    }

    /// Adds the update to the rows of this group, in place: they lie beside each other.
    fn add_to_rows(&mut self, projection: usize, input: &Tensor, output: &Tensor) -> Result<()> {
        if let Some(Range { start, end }) = self.range() {
            let input = input.f_narrow(0, start, end - start)?;
            let _ = self.add(projection, &input, output.f_narrow(0, start, end - start)?)?;
        }
        Ok(())
    }

    /// A, the transpose of B, and what lies between them.
    fn factors(
        &mut self,
        projection: usize,
        options: (Kind, Device),
    ) -> Result<Option<(Tensor, Tensor, &Scaling)>> {
        let mut union = lock(&self.union);
        let Some((index, layout)) = union.layout(projection) else { return Ok(None) };
        if self.scalings.len() <= index {
            self.scalings.resize_with(index + 1, || None);
        }
        let slot = &mut self.scalings[index];
        if slot.is_none() {
            *slot = Some(Scaling::new(layout, &self.gates, options)?);
        }
        let joined = union.joined(projection)?;
        Ok(joined.zip(self.scalings[index].as_ref()).map(|((a, b), scaling)| (a, b, scaling)))
    }

    /// One adapter after the other, with gradients to the one in training. Its dropout acts
    /// where they are recorded, as in [`crate::LoraLinear`].
    fn add_separately(
        &self,
        projection: usize,
        input: &Tensor,
        mut output: Tensor,
    ) -> Result<Tensor> {
        for Separate { lora_a, lora_b, part, dropout } in lock(&self.union).separate(projection) {
            let layout = Layout { parts: vec![Part { member: 0, ..part }] };
            let gates: Vec<Vec<f64>> =
                self.gates.iter().map(|gates| vec![gates[part.member]]).collect();
            let scaling = Scaling::new(&layout, &gates, (input.f_kind()?, input.device()))?;
            let recorded = dropout > 0.0 && lora_a.f_tr()?.requires_grad();
            let dropped = if recorded { Some(input.f_dropout(dropout, true)?) } else { None };
            output = add_update(
                output,
                dropped.as_ref().unwrap_or(input),
                (&lora_a, &lora_b.f_tr()?),
                &scaling,
            )?;
        }
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::member::{Member, Projection};
    use super::super::{Tier, TierLimits};
    use super::*;
    use crate::config::ModulePlan;
    use crate::{AdapterConfig, AdapterWeights, ModuleWeights, Rank};

    const IN: i64 = 24;
    const OUT: i64 = 40;

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    fn member(version: u64, rank: i64) -> Arc<Mutex<Member>> {
        let name = "model.layers.0.mlp.up_proj".to_owned();
        let rank = Rank::new(rank).unwrap();
        let plan = ModulePlan { name: name.clone(), rank, scale: 0.5 + version as f64 };
        let (lora_a, lora_b) = (random(&[rank.get(), IN]), random(&[OUT, rank.get()]));
        let weights = AdapterWeights {
            config: AdapterConfig::default(),
            modules: vec![ModuleWeights { plan, lora_a, lora_b, magnitude: None }],
            saved: Vec::new(),
            base_layers: Vec::new(),
            path: PathBuf::new(),
        };
        let projections = [Projection { name, in_features: IN, out_features: OUT }];
        let limits = TierLimits::default();
        let options = (version, Kind::Float, Device::Cpu);
        let tier = (Tier::Domain, &limits);
        let member = Member::new("x", weights, &projections, tier, options).unwrap();
        Arc::new(Mutex::new(member))
    }

    /// A route of rows that use these of `all` members with these gates.
    fn route(all: &[Arc<Mutex<Member>>], rows: &[Vec<(usize, f64)>]) -> Route {
        let portion = |set: &[usize], rows_of: Vec<usize>| {
            let members = set.iter().map(|&index| Arc::clone(&all[index])).collect();
            let gate = |row: usize, index: usize| {
                rows[row].iter().find(|(member, _)| *member == index).map_or(0.0, |entry| entry.1)
            };
            let gates = |&row: &usize| set.iter().map(|&index| gate(row, index)).collect();
            let gates = rows_of.iter().map(gates).collect();
            Members { union: Arc::new(Mutex::new(Union::new(members))), rows: rows_of, gates }
        };
        let set_of = |row: &[(usize, f64)]| row.iter().map(|entry| entry.0).collect::<Vec<_>>();
        let mut sets: Vec<Vec<usize>> = rows.iter().map(|row| set_of(row)).collect();
        sets.sort();
        sets.dedup();
        sets.retain(|set| !set.is_empty());
        let of_set = |set: &Vec<usize>| {
            let matching = (0..rows.len()).filter(|&row| set_of(&rows[row]) == *set);
            portion(set, matching.collect())
        };
        let whole = portion(&(0..all.len()).collect::<Vec<_>>(), (0..rows.len()).collect());
        Route::mixed(whole, sets.iter().map(of_set).collect())
    }

    #[test]
    fn rows_apart_are_what_rows_together_are() {
        tch::manual_seed(1);
        let all = [member(1, 3), member(2, 5)];
        let rows = [
            vec![(0, 1.0)],
            vec![(0, 0.5)],
            vec![],
            vec![(0, 1.0), (1, 2.0)],
            vec![(1, 1.0)],
            vec![(1, 1.0)],
        ];
        let mut route = route(&all, &rows);
        assert_eq!(route.groups.len(), 3);
        let (input, base) = (random(&[6, 7, IN]), random(&[6, 7, OUT]));
        let whole = route.whole.as_mut().unwrap();
        let together = whole.add(0, &input, base.copy()).unwrap();
        let apart = base.copy();
        for group in &mut route.groups {
            group.add_to_rows(0, &input, &apart).unwrap();
        }
        assert!(apart.allclose(&together, 1e-5, 1e-4, false));
        assert_eq!(apart.get(2), base.get(2));
        assert!(
            (&apart - &base).abs().amax([1, 2], false).gt(0.1).sum(Kind::Int64)
                == Tensor::from(5_i64)
        );
    }

    #[test]
    fn long_rows_beside_each_other_are_computed_apart() {
        let all: Vec<_> = (1..5).map(|version| member(version, 16)).collect();
        let pays = |order: [usize; 8], seq: i64| {
            let rows: Vec<_> = order.iter().map(|&index| vec![(index, 1.0)]).collect();
            let route = route(&all, &rows);
            let (input, output) = (random(&[8, seq, IN]), random(&[8, seq, OUT]));
            grouping_pays(route.whole.as_ref().unwrap(), &route.groups, 0, &input, &output)
        };
        assert!(pays([0, 0, 1, 1, 2, 2, 3, 3], 256));
        assert!(!pays([0, 0, 1, 1, 2, 2, 3, 3], 1));
        assert!(!pays([0, 1, 2, 3, 0, 1, 2, 3], 256));
    }

    #[test]
    fn rows_that_go_on_keep_their_adapters_and_gates() {
        let all = [member(1, 3), member(2, 5)];
        let rows = [vec![(0, 1.0)], vec![(1, 0.5)], vec![], vec![(0, 2.0)], vec![(1, 1.0)]];
        let (input, base) = (random(&[5, IN]), random(&[5, OUT]));
        let expected = route(&all, &rows).apply(0, &input, base.copy()).unwrap();
        let kept = |route: &mut Route, rows: &[i64]| {
            let select = |tensor: &Tensor| tensor.index_select(0, &Tensor::from_slice(rows));
            let found = route.apply(0, &select(&input), select(&base).copy()).unwrap();
            assert!(found.allclose(&select(&expected), 1e-5, 1e-5, false), "{rows:?}");
        };
        let mut route = route(&all, &rows);
        route.keep(&[4, 2, 0, 3]).unwrap();
        kept(&mut route, &[4, 2, 0, 3]);
        assert!(route.uses(1) && route.uses(2));
        route.keep(&[3, 2]).unwrap();
        kept(&mut route, &[3, 0]);
        // One set is left, so that the other adapter is free.
        assert!(route.uses(1) && !route.uses(2));
        assert!(route.keep(&[2]).is_err());
        kept(&mut route, &[3, 0]);
        let mut route = self::route(&all, &rows);
        route.keep(&[2]).unwrap();
        assert!(!route.uses(1) && !route.uses(2));
        kept(&mut route, &[2]);
    }
}
