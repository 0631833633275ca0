//! Scales moved from the inputs of projections into what gives these inputs, without a change
//! to what the block computes.

use limbeck_model::config::NormStyle;
use limbeck_model::{Decoder, DenseLinear};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// What the inputs of a block's projections are divided by and their columns multiplied with;
/// `None` where they stay.
///
/// # Shapes
/// f32 `[in]`, all elements above 0.
#[derive(Debug, Default)]
pub struct BlockScales {
    /// Of `q_proj`, `k_proj` and `v_proj`.
    pub attention: Option<Tensor>,
    /// Of `o_proj`; equal for all query heads of a value head.
    pub output: Option<Tensor>,
    /// Of `gate_proj` and `up_proj`.
    pub gate: Option<Tensor>,
    /// Of `down_proj`.
    pub down: Option<Tensor>,
}

/// Folds scales into a block: the block computes what it did, and its projections read scaled
/// inputs. The norms' weights are rounded to bfloat16, which models are stored in, and columns
/// multiplied by the quotient that then results, so that storing them changes nothing. Returns
/// the scales as they came out.
///
/// # Errors
/// Scales that do not fit the block, or that differ between query heads of a value head.
pub fn fold(decoder: &mut Decoder, block: usize, scales: &BlockScales) -> Result<BlockScales> {
    let prefix = format!("model.layers.{block}");
    let name = |projection: &str| format!("{prefix}.{projection}");
    let parts = decoder.block_parts(block)?;
    let (attention_norm, mlp_norm) = (parts.attention_norm_name(), parts.mlp_norm_name());
    let mut exact = BlockScales::default();
    if let Some(scale) = &scales.attention {
        let scale = divide_norm(decoder, &attention_norm, scale)?;
        for projection in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] {
            multiply_columns(decoder, &name(projection), &scale)?;
        }
        exact.attention = Some(scale);
    }
    if let Some(scale) = &scales.output {
        let rows = shared_by_heads(decoder, &name("self_attn.o_proj"), scale)?;
        divide_rows(decoder, &name("self_attn.v_proj"), &rows)?;
        multiply_columns(decoder, &name("self_attn.o_proj"), scale)?;
        exact.output = Some(scale.shallow_clone());
    }
    if let Some(scale) = &scales.gate {
        let scale = divide_norm(decoder, &mlp_norm, scale)?;
        for projection in ["mlp.gate_proj", "mlp.up_proj"] {
            multiply_columns(decoder, &name(projection), &scale)?;
        }
        exact.gate = Some(scale);
    }
    if let Some(scale) = &scales.down {
        divide_rows(decoder, &name("mlp.up_proj"), scale)?;
        multiply_columns(decoder, &name("mlp.down_proj"), scale)?;
        exact.down = Some(scale.shallow_clone());
    }
    Ok(exact)
}

/// Divides what a norm gives by the scale, as nearly as bfloat16 can say, and returns by what
/// it was divided.
fn divide_norm(decoder: &mut Decoder, name: &str, scale: &Tensor) -> Result<Tensor> {
    let offset = match decoder.config().norm_style {
        NormStyle::Weight => 0.0,
        NormStyle::OnePlusWeight => 1.0,
    };
    let mut exact = None;
    decoder.map_norm(name, &mut |weight| {
        let stored = weight.f_detach()?.f_to_kind(Kind::Float)?;
        let factor = stored.f_add_scalar(offset)?;
        let divided = factor.f_div(scale)?.f_sub_scalar(offset)?;
        let divided = divided.f_to_kind(Kind::BFloat16)?.f_to_kind(Kind::Float)?;
        let quotient = factor.f_div(&divided.f_add_scalar(offset)?)?;
        // A feature that the norm silences, or that rounding would, keeps its weight.
        let usable = quotient.f_isfinite()?.f_logical_and(&quotient.f_gt(0.0)?)?;
        exact = Some(quotient.f_where_self(&usable, &quotient.f_ones_like()?)?);
        Ok(divided.f_where_self(&usable, &stored)?)
    })?;
    exact.ok_or_else(|| limbeck_model::Error::UnknownNorm { name: name.to_owned() }.into())
}

/// One value head's scales of those of its query heads, `[kv_heads · head_dim]`.
fn shared_by_heads(decoder: &Decoder, layer: &str, scale: &Tensor) -> Result<Tensor> {
    let config = decoder.config();
    let (kv_heads, head_dim) = (config.num_key_value_heads, config.head_dim);
    let heads = scale.f_view([kv_heads, -1, head_dim])?; // [kv_heads, groups, head_dim]
    let first = heads.f_narrow(1, 0, 1)?;
    if !heads.f_eq_tensor(&first.f_expand_as(&heads)?)?.f_all()?.f_int64_value(&[])?.eq(&1) {
        return Err(Error::LayerShape {
            layer: layer.to_owned(),
            expected: "scales that query heads of a value head share".to_owned(),
            found: "scales that differ between them".to_owned(),
            hint: "a value head's rows can be divided by one scale only".to_owned(),
        });
    }
    Ok(first.f_reshape([-1])?)
}

fn multiply_columns(decoder: &mut Decoder, name: &str, scale: &Tensor) -> Result<()> {
    replace(decoder, name, &|weight, bias| Ok((weight.f_mul(scale)?, bias)))
}

fn divide_rows(decoder: &mut Decoder, name: &str, scale: &Tensor) -> Result<()> {
    replace(decoder, name, &|weight, bias| {
        let bias = bias.map(|bias| bias.f_to_kind(Kind::Float)?.f_div(scale)).transpose()?;
        Ok((weight.f_div(&scale.f_unsqueeze(1)?)?, bias))
    })
}

/// Weight and bias.
type Parts = (Tensor, Option<Tensor>);

/// Makes a projection of another weight, in fp32, and bias.
fn replace(
    decoder: &mut Decoder,
    name: &str,
    change: &dyn Fn(Tensor, Option<Tensor>) -> limbeck_model::Result<Parts>,
) -> Result<()> {
    decoder.map_linear(name, &mut |layer| {
        let weight = layer.dense_weight()?.f_detach()?.f_to_kind(Kind::Float)?;
        let (weight, bias) = change(weight, layer.bias())?;
        Ok(Box::new(DenseLinear::new(weight, bias)?))
    })?;
    Ok(())
}
