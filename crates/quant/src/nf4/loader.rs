//! Reads a plain checkpoint into NF4 layers.

use limbeck_core::Checkpoint;
use limbeck_model::{Embedding, Linear, LinearLoader, LoadOptions};
use tch::Tensor;

use super::layers::{Nf4Embedding, Nf4Linear};
use super::matrix::Nf4Matrix;
use crate::error::Error;

/// Rounds every matrix to NF4 as it is read, a slice of rows at a time: projections, embedding
/// and head. Norms and biases stay in the options' dtype. (bitsandbytes leaves embedding and
/// head as they are; in a small model with a large vocabulary they are most of it.)
#[derive(Debug, Clone, Copy)]
pub struct Nf4Loader;

impl Nf4Loader {
    fn read(
        name: &str,
        checkpoint: &mut Checkpoint,
        (rows, columns): (i64, i64),
        options: &LoadOptions<'_>,
    ) -> limbeck_model::Result<Nf4Matrix> {
        let key = format!("{name}.weight");
        checkpoint.check_shape(&key, &[rows, columns])?;
        let read = &mut |start, length| Ok(checkpoint.take_rows(&key, start, length)?);
        let matrix = Nf4Matrix::quantize(name, (rows, columns), options.device, read);
        matrix.map_err(|error| match error {
            Error::Core(error) => limbeck_model::Error::Core(error),
            error => limbeck_model::Error::layer(name, error),
        })
    }
}

impl LinearLoader for Nf4Loader {
    fn load(
        &self,
        name: &str,
        checkpoint: &mut Checkpoint,
        in_features: i64,
        out_features: i64,
        bias: bool,
        options: &LoadOptions<'_>,
    ) -> limbeck_model::Result<Option<Box<dyn Linear>>> {
        let matrix = Self::read(name, checkpoint, (out_features, in_features), options)?;
        let bias = if bias {
            let bias: Tensor = checkpoint.expect_shape(&format!("{name}.bias"), &[out_features])?;
            Some(bias.f_to_kind(options.parameter_dtype)?.f_to_device(options.device)?)
        } else {
            None
        };
        Ok(Some(Box::new(Nf4Linear::new(matrix, bias))))
    }

    fn load_embedding(
        &self,
        name: &str,
        checkpoint: &mut Checkpoint,
        rows: i64,
        width: i64,
        options: &LoadOptions<'_>,
    ) -> limbeck_model::Result<Option<Box<dyn Embedding>>> {
        let matrix = Self::read(name, checkpoint, (rows, width), options)?;
        Ok(Some(Box::new(Nf4Embedding::new(matrix))))
    }
}
