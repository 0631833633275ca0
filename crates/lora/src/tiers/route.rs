//! What the rows of the next forward passes use. Every tiered projection of a decoder looks
//! here, so that switching adapters is replacing this, and touches no weight.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use tch::{Device, Kind, Tensor};

use crate::Result;

use super::scaling::{Scaling, add_update};
use super::union::{Layout, Part, Separate, Union};
use super::{TierError, lock};

/// What copying one number out of the batch or back costs, in multiply-adds: memory against
/// arithmetic on two cores of a server.
const COPY_COST: i64 = 24;
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
    /// `rows` on the device, for a group whose rows do not lie beside each other.
    index: Option<Tensor>,
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
        self.groups = groups.into_iter().filter_map(|group| group.keep(kept)).collect();
        self.whole = self.whole.take().and_then(|whole| whole.keep(kept));
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
            && grouping_pays(whole, &self.groups, projection, input, &output)?
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
/// rows and masking what is not theirs.
fn grouping_pays(
    whole: &Portion,
    groups: &[Portion],
    projection: usize,
    input: &Tensor,
    output: &Tensor,
) -> Result<bool> {
    let (in_features, out_features) = (last(input), last(output));
    let rows = whole.rows.len() as i64;
    let seq = input.numel() as i64 / (rows * in_features).max(1);
    let rank = |portion: &Portion| {
        lock(&portion.union).layout(projection).map_or(0, |(_, layout)| layout.rank())
    };
    let width = in_features + out_features;
    let together = rows * seq * rank(whole) * width;
    let mut apart = 0;
    for group in groups {
        let tokens = group.rows.len() as i64 * seq;
        apart += tokens * rank(group) * width + CALL_COST;
        if group.range().is_none() {
            apart += COPY_COST * tokens * (in_features + 2 * out_features);
        }
    }
    Ok(apart < together)
}

fn last(tensor: &Tensor) -> i64 {
    tensor.size().last().copied().unwrap_or_default()
}

impl Portion {
    fn new(members: Members) -> Self {
        let Members { union, rows, gates } = members;
        Self { union, rows, gates, scalings: Vec::new(), index: None }
    }

    /// The rows that go on, by their new indices; none if there is none.
    fn keep(mut self, kept: &[usize]) -> Option<Self> {
        let (mut rows, mut gates) = (Vec::new(), Vec::new());
        for (new, old) in kept.iter().enumerate() {
            if let Ok(place) = self.rows.binary_search(old) {
                rows.push(new);
                gates.push(std::mem::take(&mut self.gates[place]));
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

    /// Adds the update to the rows of this group, in place.
    fn add_to_rows(&mut self, projection: usize, input: &Tensor, output: &Tensor) -> Result<()> {
        if let Some(range) = self.range() {
            let rows = |tensor: &Tensor| tensor.f_narrow(0, range.start, range.end - range.start);
            let (input, output) = (rows(input)?, rows(output)?);
            let _ = self.add(projection, &input, output)?;
            return Ok(());
        }
        let index = self.index(input.device())?;
        let input = input.f_index_select(0, &index)?;
        let mut size = input.size();
        if let Some(width) = size.last_mut() {
            *width = last(output);
        }
        let zeros = Tensor::f_zeros(size, (output.f_kind()?, output.device()))?;
        let update = self.add(projection, &input, zeros)?;
        let _ = output.shallow_clone().f_index_add_(0, &index, &update)?;
        Ok(())
    }

    fn index(&mut self, device: Device) -> Result<Tensor> {
        if self.index.is_none() {
            let rows: Vec<i64> = self.rows.iter().map(|&row| row as i64).collect();
            self.index = Some(Tensor::f_from_slice(&rows)?.f_to_device(device)?);
        }
        Ok(self.index.as_ref().map(Tensor::shallow_clone).unwrap_or_default())
    }

    /// A, B and what lies between them.
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
                (&lora_a, &lora_b),
                &scaling,
            )?;
        }
        Ok(output)
    }
}
