//! Tensors of a GGUF file under Hugging Face's names, dequantised.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::gguf_file::{Content, TensorInfo};
use tch::{Device, Kind, Tensor};

use super::damaged;
use super::layout::{Change, Projection, ROPE_DIVISORS, norm_change, norms, projections};
use crate::config::DecoderConfig;
use crate::error::{Error, Result};

/// Elements dequantised at a time: bounds the fp32 copy of a large embedding.
const CHUNK: usize = 1 << 22;

pub(super) struct TensorReader<'a> {
    path: &'a Path,
    content: &'a Content,
    reader: BufReader<File>,
    dtype: Kind,
    consumed: BTreeSet<String>,
}

impl<'a> TensorReader<'a> {
    pub(super) fn new(
        path: &'a Path,
        content: &'a Content,
        reader: BufReader<File>,
        dtype: Kind,
    ) -> Self {
        Self { path, content, reader, dtype, consumed: BTreeSet::new() }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// Name of the dtype that tensors are dequantised to, as `config.json` spells it.
    pub(super) fn dtype_name(&self) -> Result<&'static str> {
        match self.dtype {
            Kind::Float => Ok("float32"),
            Kind::BFloat16 => Ok("bfloat16"),
            Kind::Half => Ok("float16"),
            other => Err(Error::shape(
                "GGUF import",
                "float32, bfloat16 or float16",
                format!("{other:?}"),
            )),
        }
    }

    /// Rows of a matrix: its first axis in Hugging Face's order.
    pub(super) fn rows(&self, name: &str) -> Result<i64> {
        let dims = self.info(name)?.shape.dims();
        dims.first()
            .map(|rows| *rows as i64)
            .ok_or_else(|| damaged(self.path, format!("tensor {name} with rows"), "a scalar"))
    }

    /// Llama 3's divisors of the rotary frequencies, if the file has them.
    pub(super) fn rope_divisors(&mut self) -> Result<Option<Vec<f64>>> {
        if !self.has(ROPE_DIVISORS) {
            return Ok(None);
        }
        let divisors = self.dequantise(ROPE_DIVISORS, Kind::Double)?.f_reshape([-1])?;
        let mut values = vec![0.0; divisors.numel()];
        divisors.f_copy_data(&mut values, divisors.numel())?;
        Ok(Some(values))
    }

    /// Hands every weight of the model to `take`, one after another.
    ///
    /// # Errors
    /// A missing tensor, a wrong shape, a tensor that nothing asked for; those of `take`.
    pub(super) fn read_all(
        &mut self,
        config: &DecoderConfig,
        architecture: &str,
        take: &mut dyn FnMut(String, Tensor) -> Result<()>,
    ) -> Result<()> {
        let norm = norm_change(architecture);
        let hidden = config.hidden_size;
        let mut add =
            |reader: &mut Self, theirs: &str, ours: &str, shape: &[i64], change: Change| {
                take(ours.to_owned(), reader.read(theirs, shape, change)?)
            };
        let embedding = [config.vocab_size, hidden];
        add(self, "token_embd.weight", "model.embed_tokens.weight", &embedding, Change::None)?;
        add(self, "output_norm.weight", "model.norm.weight", &[hidden], norm)?;
        if !config.tie_word_embeddings {
            add(self, "output.weight", "lm_head.weight", &embedding, Change::None)?;
        }
        for index in 0..config.num_hidden_layers() {
            let (theirs, ours) = (format!("blk.{index}"), format!("model.layers.{index}"));
            for (from, to, width) in norms(config) {
                let (from, to) = (format!("{theirs}.{from}.weight"), format!("{ours}.{to}.weight"));
                add(self, &from, &to, &[width], norm)?;
            }
            for projection in projections(config, architecture) {
                let Projection { in_features, out_features, bias, change, .. } = projection;
                let from = format!("{theirs}.{}", projection.theirs);
                let to = format!("{ours}.{}", projection.ours);
                let shape = [out_features, in_features];
                add(self, &format!("{from}.weight"), &format!("{to}.weight"), &shape, change)?;
                if bias {
                    let shape = [out_features];
                    add(self, &format!("{from}.bias"), &format!("{to}.bias"), &shape, change)?;
                }
            }
        }
        let mut leftover: Vec<&String> = self
            .content
            .tensor_infos
            .keys()
            .filter(|name| !self.consumed.contains(*name))
            .collect();
        leftover.sort();
        match leftover.first() {
            None => Ok(()),
            Some(first) => Err(damaged(
                self.path,
                format!("the tensors of a {architecture} model only"),
                format!("{} more, the first is {first}", leftover.len()),
            )),
        }
    }

    fn info(&self, name: &str) -> Result<&'a TensorInfo> {
        self.content
            .tensor_infos
            .get(name)
            .ok_or_else(|| damaged(self.path, format!("tensor {name}"), "no such tensor"))
    }

    fn read(&mut self, name: &str, shape: &[i64], change: Change) -> Result<Tensor> {
        let tensor = self.dequantise(name, self.dtype)?;
        if tensor.size() != shape {
            return Err(damaged(
                self.path,
                format!("tensor {name} of shape {shape:?}"),
                format!("{:?}", tensor.size()),
            ));
        }
        match change {
            Change::None => Ok(tensor),
            Change::PlusOne => {
                Ok(tensor.f_to_kind(Kind::Float)?.f_sub_scalar(1.0)?.f_to_kind(self.dtype)?)
            }
            Change::Interleaved { heads } => {
                let rows = shape[0];
                Ok(tensor
                    .f_view([heads, rows / heads / 2, 2, -1])?
                    .f_transpose(1, 2)?
                    .f_reshape(shape)?)
            }
        }
    }

    /// Reads and dequantises a tensor, some rows at a time.
    fn dequantise(&mut self, name: &str, dtype: Kind) -> Result<Tensor> {
        let info = self.info(name)?;
        let failed = |got: String| damaged(self.path, format!("data of tensor {name}"), got);
        let block = info.ggml_dtype.block_size();
        let elements = info.shape.elem_count();
        let row = info.shape.dims().last().copied().unwrap_or(1);
        if elements == 0 || row % block != 0 {
            return Err(failed(format!("rows of {row}, in blocks of {block}")));
        }
        self.reader
            .seek(SeekFrom::Start(self.content.tensor_data_offset.saturating_add(info.offset)))
            .map_err(|error| failed(error.to_string()))?;
        let shape: Vec<i64> = info.shape.dims().iter().map(|size| *size as i64).collect();
        let output = Tensor::f_empty([elements as i64], (dtype, Device::Cpu))?;
        let chunk = (CHUNK / row).max(1) * row;
        let mut start = 0;
        while start < elements {
            let count = chunk.min(elements - start);
            let mut bytes = vec![0; count / block * info.ggml_dtype.type_size()];
            self.reader.read_exact(&mut bytes).map_err(|error| failed(error.to_string()))?;
            let values =
                qtensor_from_ggml(info.ggml_dtype, &bytes, vec![count], &candle_core::Device::Cpu)
                    .and_then(|blocks| {
                        blocks.dequantize(&candle_core::Device::Cpu)?.to_vec1::<f32>()
                    })
                    .map_err(|error| failed(error.to_string()))?;
            output
                .f_narrow(0, start as i64, count as i64)?
                .f_copy_(&Tensor::f_from_slice(&values)?)?;
            start += count;
        }
        self.consumed.insert(name.to_owned());
        Ok(output.f_view(shape.as_slice())?)
    }
}
