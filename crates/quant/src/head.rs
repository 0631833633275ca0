//! Packing the head and the embedding: tables of a row for each token, many times larger than
//! any projection, solved some rows at a time.

use limbeck_model::{Decoder, Embedding, Linear};
use tch::{Kind, Tensor};

use crate::bits::Bits;
use crate::error::{Error, Result};
use crate::formats::LayerSettings;
use crate::gptq;
use crate::grid::{Grid, GridRule};
use crate::hessian::{Factor, Hessian, ratio};
use crate::matrix::WeightMatrix;
use crate::packed_embedding::PackedEmbedding;
use crate::packed_linear::{PackedLinear, tensor_bytes};
use crate::packed_weight::PackedWeight;
use crate::quantized::QuantizedWeight;
use crate::report::LayerReport;
use crate::rtn;

/// Weights that are solved at once.
pub(crate) const SLAB_WEIGHTS: usize = 2 << 20;

/// A table's rows from a number on in fp32, `[length, width]`.
type Rows<'a> = &'a dyn Fn(i64, i64) -> limbeck_model::Result<Tensor>;

/// How a table is packed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packing {
    pub(crate) rule: GridRule,
    pub(crate) settings: LayerSettings,
    pub(crate) format: crate::Format,
}

/// Packs the head, and with it the embedding that it may be. With a Hessian and its factor,
/// rows are solved by GPTQ, else rounded to nearest.
///
/// # Errors
/// [`Error::WeightRange`]; failures of libtorch.
pub(crate) fn pack_head(
    decoder: &mut Decoder,
    packing: Packing,
    calibrated: Option<(&Hessian, &Factor)>,
) -> Result<LayerReport> {
    let Some(name) = decoder.head_name() else {
        return pack_embedding(decoder, packing, calibrated);
    };
    let missing = || limbeck_model::Error::LinearMissing { name: name.to_owned() };
    let head = decoder.linear(name).ok_or_else(missing)?;
    let shape = (head.out_features(), head.in_features());
    let original_bytes = head.tensors().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum();
    let bias = head.bias();
    let rows = |start, length| head.rows(start, length, Kind::Float);
    let solved = solve(name, shape, &rows, packing, calibrated)?;
    let Solved { weight, mut report } = solved;
    let device = decoder.device();
    let bias = bias.map(|bias| bias.f_to_kind(Kind::Half)).transpose()?;
    let packed = PackedLinear::assemble(weight, packing.format, bias, device)?;
    report.packed_bytes = packed.packed().bytes();
    report.original_bytes = original_bytes;
    let mut packed: Option<Box<dyn Linear>> = Some(Box::new(packed));
    decoder.map_linear(name, &mut |layer| Ok(packed.take().unwrap_or(layer)))?;
    Ok(report)
}

/// Packs the embedding.
///
/// # Errors
/// As [`pack_head`].
pub(crate) fn pack_embedding(
    decoder: &mut Decoder,
    packing: Packing,
    calibrated: Option<(&Hessian, &Factor)>,
) -> Result<LayerReport> {
    let name = decoder.embedding_name();
    let embedding = decoder.embedding();
    let shape = (embedding.num_embeddings(), embedding.embedding_dim());
    let original_bytes = embedding.tensors().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum();
    let rows = |start, length| embedding.rows(start, length, Kind::Float);
    let Solved { weight, mut report } = solve(name, shape, &rows, packing, calibrated)?;
    let weight = PackedWeight::new(weight, decoder.device())?;
    report.packed_bytes = weight.bytes();
    report.original_bytes = original_bytes;
    let mut packed: Option<Box<dyn Embedding>> =
        Some(Box::new(PackedEmbedding::new(weight, packing.format)));
    decoder.map_embedding(&mut |embedding| Ok(packed.take().unwrap_or(embedding)))?;
    Ok(report)
}

struct Solved {
    weight: QuantizedWeight,
    report: LayerReport,
}

fn solve(
    name: &str,
    (num_rows, width): (i64, i64),
    rows: Rows<'_>,
    packing: Packing,
    calibrated: Option<(&Hessian, &Factor)>,
) -> Result<Solved> {
    let Packing { rule, settings, .. } = packing;
    let group_size = settings.group_size.unwrap_or(width as usize);
    let slab = (SLAB_WEIGHTS / width.max(1) as usize).max(1) as i64;
    let mut codes = Vec::with_capacity((num_rows * width) as usize);
    let mut grids: Vec<Grid> = Vec::new();
    let (mut error, mut norm) = (0.0, 0.0);
    let (mut output_error, mut output_norm) = (0.0, 0.0);
    for start in (0..num_rows).step_by(slab as usize) {
        let dense = rows(start, slab.min(num_rows - start))?;
        let weight = WeightMatrix::from_tensor(&dense)?;
        let solved = match calibrated {
            Some((_, factor)) => gptq::quantize(&weight, factor, rule, group_size),
            None => rtn::quantize(&weight, rule, group_size),
        };
        let solved = solved.ok_or_else(|| Error::WeightRange { layer: name.to_owned() })?;
        let difference =
            dense.f_sub(&solved.dequantize().to_tensor(Kind::Float, dense.device())?)?;
        let square = |tensor: &Tensor| -> Result<f64> {
            Ok(tensor.f_mul(tensor)?.f_sum(Kind::Double)?.f_double_value(&[])?)
        };
        error += square(&difference)?;
        norm += square(&dense)?;
        if let Some((hessian, _)) = calibrated {
            output_error += hessian.energy(&difference)?;
            output_norm += hessian.energy(&dense)?;
        }
        codes.extend_from_slice(solved.codes());
        grids.extend_from_slice(solved.grids());
    }
    let shape = (num_rows as usize, width as usize);
    let weight = QuantizedWeight::new(rule.bits, group_size, shape, codes, grids)
        .ok_or_else(|| Error::WeightRange { layer: name.to_owned() })?;
    let report = LayerReport {
        name: name.to_owned(),
        bits: Bits::width(rule.bits),
        in_features: width,
        out_features: num_rows,
        weight_error: ratio(error, norm).sqrt(),
        output_error: calibrated.map(|_| ratio(output_error, output_norm).sqrt()),
        damping: calibrated.map(|(_, factor)| factor.damping()),
        packed_bytes: 0,
        original_bytes: 0,
    };
    Ok(Solved { weight, report })
}
