//! Elementwise parts of a forward pass in one pass over memory.
//!
//! One token's activations are a few kilobytes, and each operation of libtorch costs more than
//! the arithmetic in it: a norm of eight operations takes ten times as long as these loops.
//! They are taken where nothing is differentiated, on the CPU, in fp32, for few numbers; what
//! they compute is what the operations compute, but for the order of sums.

use limbeck_core::elements::{elements, filled};
use tch::{Kind, Tensor};

use crate::config::NormStyle;
use crate::error::{Error, Result};

/// Numbers beyond which libtorch's threads are worth their cost.
const MOST: usize = 1 << 16;
/// Sums side by side, so that they fill vector registers.
const LANES: usize = 16;

/// The numbers of a tensor that these loops may read.
fn readable(tensor: &Tensor) -> Option<&[f32]> {
    let small = tensor.numel() <= MOST && tensor.kind() == Kind::Float;
    if small && !tensor.requires_grad() { elements(tensor) } else { None }
}

/// `x / sqrt(mean(x²) + eps)` over the last axis, scaled by the weight; `None` where the
/// operations must do it.
///
/// # Shapes
/// Input `[.., width]`, weight `[width]` → as the input.
pub(crate) fn rms_norm(
    input: &Tensor,
    weight: &Tensor,
    eps: f64,
    style: NormStyle,
) -> Option<Result<Tensor>> {
    let (numbers, weight) = (readable(input)?, readable(weight)?);
    let width = weight.len();
    if width == 0 || numbers.is_empty() {
        return None;
    }
    let offset = match style {
        NormStyle::Weight => 0.0,
        NormStyle::OnePlusWeight => 1.0,
    };
    Some(filled(&input.size(), |output: &mut [f32]| {
        for (input, output) in numbers.chunks(width).zip(output.chunks_mut(width)) {
            let mean_square = square_sum(input) / width as f32;
            let scale = 1.0 / (mean_square + eps as f32).sqrt();
            for ((output, &value), &weight) in output.iter_mut().zip(input).zip(weight) {
                *output = value * scale * (weight + offset);
            }
        }
        Ok::<(), Error>(())
    }))
}

fn square_sum(numbers: &[f32]) -> f32 {
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for (sum, &number) in sums.iter_mut().zip(chunk) {
            *sum += number * number;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|number| number * number).sum::<f32>()
}

/// `x · cos + roll(x, half) · sin` over the last axis; `None` where the operations must do it.
///
/// # Shapes
/// Heads `[batch, seq, heads, head_dim]`, factors `[batch or 1, seq, 1, head_dim]` or without
/// their first axis → as the heads.
pub(crate) fn rotate(
    heads: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    half: i64,
) -> Option<Result<Tensor>> {
    let (numbers, cos, sin) = (readable(heads)?, readable(cos)?, readable(sin)?);
    let &[batch, seq, count, head_dim] = heads.size().as_slice() else { return None };
    let (width, half) = (head_dim as usize, half as usize);
    let places = (batch * seq) as usize;
    let given = cos.len() / width.max(1);
    // The factors of all rows are those of the first, unless each has its own.
    let fits = cos.len() == sin.len() && (given == places || given == seq as usize);
    if width == 0 || half >= width || numbers.is_empty() || !fits {
        return None;
    }
    let group = (count * head_dim) as usize;
    Some(filled(&heads.size(), |output: &mut [f32]| {
        for (place, (input, output)) in
            numbers.chunks(group).zip(output.chunks_mut(group)).enumerate()
        {
            let start = place % given * width;
            let (cos, sin) = (&cos[start..start + width], &sin[start..start + width]);
            for (input, output) in input.chunks(width).zip(output.chunks_mut(width)) {
                let rolled = input[width - half..].iter().chain(&input[..width - half]);
                let factors = cos.iter().zip(sin);
                for (((output, &value), &rolled), (&cos, &sin)) in
                    output.iter_mut().zip(input).zip(rolled).zip(factors)
                {
                    *output = value * cos + rolled * sin;
                }
            }
        }
        Ok::<(), Error>(())
    }))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::norm::RmsNorm;

    fn close(left: &Tensor, right: &Tensor) {
        let difference = (left - right).abs().max().double_value(&[]);
        assert!(left.size() == right.size() && difference < 1e-5, "{difference}");
    }

    #[test]
    fn norms_are_those_of_the_operations() {
        for style in [NormStyle::Weight, NormStyle::OnePlusWeight] {
            let input = Tensor::randn([3, 2, 37], (Kind::Float, Device::Cpu)) * 3.0;
            let weight = Tensor::randn([37], (Kind::Float, Device::Cpu));
            let found = rms_norm(&input, &weight, 1e-6, style).unwrap().unwrap();
            // Where a gradient is asked for, the operations do it.
            let input = input.set_requires_grad(true);
            assert!(rms_norm(&input, &weight, 1e-6, style).is_none());
            close(&found, &RmsNorm::new(weight, 1e-6, style).forward(&input).unwrap());
        }
    }

    #[test]
    fn rotations_are_those_of_the_operations() {
        let heads = Tensor::randn([2, 3, 4, 8], (Kind::Float, Device::Cpu));
        for rows in [1, 2] {
            let cos = Tensor::randn([rows, 3, 1, 8], (Kind::Float, Device::Cpu));
            let sin = Tensor::randn([rows, 3, 1, 8], (Kind::Float, Device::Cpu));
            let found = rotate(&heads, &cos, &sin, 4).unwrap().unwrap();
            close(&found, &(&heads * &cos + heads.roll([4], [-1]) * &sin));
        }
        let strided = heads.transpose(1, 2);
        let factor = Tensor::ones([4, 1, 8], (Kind::Float, Device::Cpu));
        assert!(rotate(&strided, &factor, &factor, 4).is_none());
    }
}
