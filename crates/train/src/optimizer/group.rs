//! Parameters updated alike, stored in one buffer, with their gradients and moments.

use tch::{Kind, Tensor, no_grad};

use super::adafactor::Adafactor;
use super::adamw::AdamW;
use super::adamw_8bit::{AdamW8bit, BLOCK};
use super::kind::{OptimizerConfig, OptimizerKind, Update};
use super::muon::Muon;
use super::stack::Stack;
use crate::Result;

/// Views start on 64-byte borders, which libtorch's kernels are fastest on.
const ALIGNMENT: i64 = 16;

/// How a group is updated, with its state.
#[derive(Debug)]
enum Rule {
    AdamW(AdamW),
    AdamW8bit(AdamW8bit),
    Adafactor(Adafactor),
    Muon(Muon),
}

/// A group of parameters.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: &'static str,
    spans: Vec<(i64, i64)>,
    pub(super) flat: Tensor,
    pub(super) gradient: Tensor,
    pub(super) weight_decay: f64,
    rule: Rule,
}

impl Group {
    /// `name` says what the parameters are: `hidden` are those of Muon, `vectors` have
    /// neither weight decay nor quantised moments (they are few, and norms are delicate).
    pub(super) fn new(
        name: &'static str,
        mut parameters: Vec<Tensor>,
        config: &OptimizerConfig,
    ) -> Result<Self> {
        let vectors = name == "vectors";
        let muon_ratio = config.muon_ratio.filter(|_| name == "hidden");
        let quantized = config.kind == OptimizerKind::AdamW8bit && !vectors && muon_ratio.is_none();
        // A block of one scale shall not mix two parameters.
        let alignment = if quantized { BLOCK } else { ALIGNMENT };
        let mut spans = Vec::with_capacity(parameters.len());
        let mut length = 0;
        for parameter in &parameters {
            let count = parameter.numel() as i64;
            spans.push((length, count));
            length = (length + count + alignment - 1) / alignment * alignment;
        }
        let device = parameters[0].device();
        let zeros = || Tensor::f_zeros([length], (Kind::Float, device));
        let (flat, gradient) = (zeros()?, zeros()?);
        for (parameter, &(start, count)) in parameters.iter_mut().zip(&spans) {
            let view = |buffer: &Tensor| {
                buffer.f_narrow(0, start, count)?.f_view(parameter.size().as_slice())
            };
            let (place, place_of_gradient) = (view(&flat)?, view(&gradient)?);
            no_grad(|| -> Result<()> {
                place.shallow_clone().f_copy_(&parameter.f_detach()?)?;
                Ok(parameter.f_set_data(&place)?)
            })?;
            adopt_gradient(parameter, &place_of_gradient)?;
        }
        let stacks = || Stack::all(&parameters, &spans);
        let rule = match (muon_ratio, config.kind) {
            (Some(ratio), _) => Rule::Muon(Muon::new(&flat, ratio, stacks())?),
            (None, OptimizerKind::AdamW8bit) if quantized => {
                Rule::AdamW8bit(AdamW8bit::new(&flat)?)
            }
            (None, OptimizerKind::Adafactor) if vectors => {
                Rule::Adafactor(Adafactor::full(&flat, &spans)?)
            }
            (None, OptimizerKind::Adafactor) => {
                Rule::Adafactor(Adafactor::factored(stacks(), device)?)
            }
            (None, _) => Rule::AdamW(AdamW::new(&flat)?),
        };
        let weight_decay = if vectors { 0.0 } else { config.weight_decay };
        Ok(Self { name, spans, flat, gradient, weight_decay, rule })
    }

    pub(super) fn num_parameters(&self) -> i64 {
        self.spans.iter().map(|(_, length)| length).sum()
    }

    pub(super) fn update(&self, by: &Update<'_>) -> Result<()> {
        let (flat, gradient) = (&self.flat, &self.gradient);
        match &self.rule {
            Rule::AdamW(rule) => rule.update(flat, gradient, by),
            Rule::AdamW8bit(rule) => rule.update(flat, gradient, by),
            Rule::Adafactor(rule) => rule.update(flat, gradient, by),
            Rule::Muon(rule) => rule.update(flat, gradient, by),
        }
    }

    /// Shallow clones of the state beside the parameters.
    pub(super) fn moments(&self) -> Vec<(&'static str, Tensor)> {
        let moments: Vec<(&'static str, &Tensor)> = match &self.rule {
            Rule::AdamW(AdamW { exp_avg, exp_avg_sq }) => {
                vec![("exp_avg", exp_avg), ("exp_avg_sq", exp_avg_sq)]
            }
            Rule::AdamW8bit(AdamW8bit { exp_avg, exp_avg_sq }) => vec![
                ("exp_avg.codes", &exp_avg.codes),
                ("exp_avg.absmax", &exp_avg.absmax),
                ("exp_avg_sq.codes", &exp_avg_sq.codes),
                ("exp_avg_sq.absmax", &exp_avg_sq.absmax),
            ],
            Rule::Adafactor(Adafactor::Factored { rows, columns, .. }) => {
                vec![("exp_avg_sq.rows", rows), ("exp_avg_sq.columns", columns)]
            }
            Rule::Adafactor(Adafactor::Full { exp_avg_sq, .. }) => vec![("exp_avg_sq", exp_avg_sq)],
            Rule::Muon(Muon { momentum, .. }) => vec![("momentum", momentum)],
        };
        moments.into_iter().map(|(name, tensor)| (name, tensor.shallow_clone())).collect()
    }
}

/// Makes the parameter's gradient a view into the flat buffer, which autograd then
/// accumulates into in place. A gradient comes into being only in a backward pass, so
/// this runs one, of zero, while there are no activations beside it.
fn adopt_gradient(parameter: &Tensor, place: &Tensor) -> Result<()> {
    if !parameter.requires_grad() {
        return Ok(());
    }
    let mut parameter = parameter.shallow_clone();
    parameter.zero_grad();
    parameter.f_sum(Kind::Float)?.f_mul_scalar(0.0)?.f_backward()?;
    Ok(parameter.f_grad()?.f_set_data(place)?)
}
