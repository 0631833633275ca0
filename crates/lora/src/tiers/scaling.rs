//! Gates and scales of a batch's rows, as what `A·x` is multiplied with.

use tch::{Device, Kind, Tensor};

use crate::Result;

use super::union::Layout;

/// What the columns of `A·x` are multiplied with.
#[derive(Debug)]
pub(super) enum Scaling {
    /// One factor for all rows and columns.
    Factor(f64),
    /// `[rows, 1, Σ rank]`, or `[1, 1, Σ rank]` where all rows have the same.
    Mask(Tensor),
}

impl Scaling {
    /// Products of gates and scales; `gates` has a row for each row of the batch, or one for
    /// all.
    pub(super) fn new(
        layout: &Layout,
        gates: &[Vec<f64>],
        (kind, device): (Kind, Device),
    ) -> Result<Self> {
        let mut rows: Vec<Vec<f32>> = gates.iter().map(|gates| layout.factors(gates)).collect();
        if rows.windows(2).all(|pair| pair[0] == pair[1]) {
            rows.truncate(1);
        }
        if let [row] = rows.as_slice()
            && row.windows(2).all(|pair| pair[0].to_bits() == pair[1].to_bits())
        {
            // The first column's product in double precision.
            let part = layout.parts.first().map(|part| gates[0][part.member] * part.scale);
            return Ok(Self::Factor(part.unwrap_or_default()));
        }
        let mask = Tensor::f_from_slice(&rows.concat())?
            .f_view([rows.len() as i64, 1, layout.rank()])?
            .f_to_device(device)?
            .f_to_kind(kind)?;
        Ok(Self::Mask(mask))
    }

    /// # Shapes
    /// `low` `[rows · seq, Σ rank]` → the same.
    fn apply(&self, mut low: Tensor) -> Result<Tensor> {
        let in_place = !low.requires_grad();
        match self {
            Self::Factor(1.0) => Ok(low),
            Self::Factor(factor) if in_place => Ok(low.f_mul_scalar_(*factor)?),
            Self::Factor(factor) => Ok(low.f_mul_scalar(*factor)?),
            Self::Mask(mask) => {
                let (rows, _, rank) = mask.size3()?;
                let mask = in_dtype(mask, low.f_kind()?)?;
                let mut by_row = low.f_view([rows, -1, rank])?;
                if in_place {
                    let _ = by_row.f_mul_(&mask)?;
                    return Ok(low);
                }
                Ok(by_row.f_mul(&mask)?.f_view([-1, rank])?)
            }
        }
    }
}

/// `output + (scaling ∘ input·Aᵀ)·Bᵀ`, in place where no gradients are recorded: `output` is
/// what the projection has just computed, and nobody else's.
///
/// # Shapes
/// `input` `[.., in_features]`, `output` `[.., out_features]`, `lora_a` `[rank, in_features]`,
/// `lora_b_transposed` `[rank, out_features]` → `[.., out_features]`.
pub(super) fn add_update(
    output: Tensor,
    input: &Tensor,
    (lora_a, lora_b_transposed): (&Tensor, &Tensor),
    scaling: &Scaling,
) -> Result<Tensor> {
    let kind = input.f_kind()?;
    let (lora_a, lora_b) = (in_dtype(lora_a, kind)?, in_dtype(lora_b_transposed, kind)?);
    let flat = input.f_reshape([-1, lora_a.size()[1]])?; // [rows · seq, in_features]
    let low = scaling.apply(flat.f_linear(&lora_a, None::<&Tensor>)?)?;
    if output.requires_grad() || low.requires_grad() || !output.is_contiguous() {
        return Ok(output.f_add(&low.f_matmul(&lora_b)?.f_view_as(&output)?)?);
    }
    let _ = output.f_view([-1, lora_b.size()[1]])?.f_addmm_(&low, &lora_b)?;
    Ok(output)
}

/// The tensor in this dtype; itself if it has it, without an operation.
fn in_dtype(tensor: &Tensor, kind: Kind) -> Result<Tensor> {
    if tensor.f_kind()? == kind {
        return Ok(tensor.shallow_clone());
    }
    Ok(tensor.f_to_kind(kind)?)
}
