//! GGUF export: a decoder and the tokenizer of its folder as llama.cpp's single file.
//!
//! Undoes what import does: rows of rotated projections become interleaved, Gemma's norms get
//! their 1, names and metadata are llama.cpp's. Matrices are rounded to blocks by candle, but for
//! those whose blocks are given: packed layers keep their codes.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Kind, Tensor};

use super::export_config::{self, Described};
use super::export_tokenizer;
use super::layout::{Change, ROPE_DIVISORS, norm_change, norms, projections};
use super::tensor_type::TensorType;
use super::writer::{self, MetaValue, Planned};
use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::linear::Linear;

/// Weights rounded at a time, about: bounds the fp32 copy of a large embedding.
const CHUNK: i64 = 1 << 22;

/// A matrix `[out, in]` in blocks, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockMatrix {
    /// The type of its blocks.
    pub kind: TensorType,
    /// The blocks.
    pub bytes: Vec<u8>,
}

/// How a decoder is written.
#[derive(Clone, Copy)]
pub struct ExportOptions<'a> {
    /// The type of matrices, where it divides their rows.
    pub kind: TensorType,
    /// The blocks of a matrix that has them, by its name here (`model.layers.0.mlp.up_proj`).
    pub blocks: Option<BlocksFn<'a>>,
}

/// The blocks of a matrix by its name; `None` for one that has none.
pub type BlocksFn<'a> = &'a dyn Fn(&str) -> Option<BlockMatrix>;

impl std::fmt::Debug for ExportOptions<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ExportOptions")
            .field("kind", &self.kind)
            .field("blocks", &self.blocks.is_some())
            .finish()
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Tensors of each type.
    pub tensors: BTreeMap<TensorType, usize>,
    /// Bytes of the file.
    pub bytes: u64,
    /// What is otherwise than was asked for, or than this model is.
    pub warnings: Vec<String>,
}

/// Writes a decoder and the tokenizer of the folder `tokenizer` as the file `path`.
///
/// # Errors
/// [`Error::Export`] for a model or tokenizer that llama.cpp has no place for; blocks that do not
/// fit their matrix; write errors.
pub fn export(
    decoder: &Decoder,
    tokenizer: &Path,
    path: &Path,
    options: ExportOptions<'_>,
) -> Result<Exported> {
    let config = decoder.config();
    let described = export_config::describe(config)?;
    let gemma = described.architecture == "gemma3";
    let (tokens, warnings) =
        export_tokenizer::describe(tokenizer, config.vocab_size as usize, gemma)?;
    let mut plan = Plan { options, planned: Vec::new(), sources: Vec::new(), fallen: Vec::new() };
    plan.fill(decoder, &described)?;

    let mut kinds: BTreeMap<TensorType, usize> = BTreeMap::new();
    for tensor in &plan.planned {
        *kinds.entry(tensor.kind).or_default() += 1;
    }
    let matrices = plan.planned.iter().filter(|tensor| tensor.shape.len() == 2);
    let mut by_kind: BTreeMap<TensorType, usize> = BTreeMap::new();
    matrices.for_each(|tensor| *by_kind.entry(tensor.kind).or_default() += 1);
    let main =
        by_kind.iter().max_by_key(|&(_, count)| *count).map_or(options.kind, |(kind, _)| *kind);

    let mut metadata = vec![
        ("general.architecture".to_owned(), MetaValue::String(described.architecture.to_owned())),
        // Import tells Mistral from Llama by it.
        ("general.name".to_owned(), MetaValue::String(config.model_type.clone())),
        ("general.file_type".to_owned(), MetaValue::U32(main.file_type())),
        ("general.quantization_version".to_owned(), MetaValue::U32(2)),
    ];
    metadata.extend(described.metadata);
    metadata.extend(tokens);
    let bytes = writer::write(path, &metadata, &plan.planned, &mut |index, out| {
        plan.sources[index].write(decoder, &plan.planned[index], out)
    })?;
    let mut warnings: Vec<String> = described.warnings.into_iter().chain(warnings).collect();
    warnings.extend(plan.fallen());
    Ok(Exported { tensors: kinds, bytes, warnings })
}

/// Tensors in the order of the file, and where their data are from.
struct Plan<'a> {
    options: ExportOptions<'a>,
    planned: Vec<Planned>,
    sources: Vec<Source>,
    /// Matrices whose rows the type that they should have does not divide.
    fallen: Vec<Fallen>,
}

struct Fallen {
    name: String,
    columns: usize,
    wanted: TensorType,
    kind: TensorType,
}

enum Source {
    /// Written as it is.
    Tensor(Tensor),
    /// Rows of a projection, or of the embedding.
    Matrix {
        layer: String,
        change: Change,
        rows_of_head: i64,
    },
    Blocks {
        matrix: BlockMatrix,
        heads: Option<i64>,
    },
}

impl Plan<'_> {
    fn fill(&mut self, decoder: &Decoder, described: &Described) -> Result<()> {
        let config = decoder.config();
        let parameters: BTreeMap<String, Tensor> = decoder.named_parameters().into_iter().collect();
        let norm = norm_change(described.architecture);
        let table = decoder.embedding();
        let shape = [table.num_embeddings(), table.embedding_dim()];
        let kind = self.options.kind;
        let tied = decoder.head_name().is_none();
        let of_embedding = if tied { kind.of_head() } else { kind };
        self.matrix("token_embd", decoder.embedding_name(), shape, of_embedding, Change::None)?;
        self.vector("output_norm", &parameters, "model.norm.weight", norm, 1.0)?;
        if let Some(head) = decoder.head_name() {
            self.matrix("output", head, shape, kind.of_head(), Change::None)?;
        }
        if let Some(divisors) = &described.rope_divisors {
            self.tensor(ROPE_DIVISORS, Tensor::f_from_slice(divisors)?);
        }
        for index in 0..config.num_hidden_layers() {
            let (theirs, ours) = (format!("blk.{index}"), format!("model.layers.{index}"));
            for (to, from, _) in norms(config) {
                let factor = if to == "attn_q_norm" { described.query_factor } else { 1.0 };
                let (to, from) = (format!("{theirs}.{to}"), format!("{ours}.{from}.weight"));
                self.vector(&to, &parameters, &from, norm, factor)?;
            }
            for projection in projections(config, described.architecture) {
                let layer = format!("{ours}.{}", projection.ours);
                let to = format!("{theirs}.{}", projection.theirs);
                let shape = [projection.out_features, projection.in_features];
                self.matrix(&to, &layer, shape, kind, projection.change)?;
                if projection.bias {
                    let bias = decoder.linear(&layer).and_then(Linear::bias);
                    let Some(bias) = bias else {
                        return Err(Error::shape(
                            "GGUF export",
                            format!("a bias of {layer}"),
                            "none",
                        ));
                    };
                    let bias = bias.f_detach()?.f_to_kind(Kind::Float)?;
                    self.tensor(&format!("{to}.bias"), interleaved(&bias, projection.change)?);
                }
            }
        }
        Ok(())
    }

    fn tensor(&mut self, name: &str, tensor: Tensor) {
        let (shape, kind) = (tensor.size(), TensorType::F32);
        self.planned.push(Planned { name: name.to_owned(), shape, kind });
        self.sources.push(Source::Tensor(tensor));
    }

    /// A norm, in fp32 as llama.cpp has them.
    fn vector(
        &mut self,
        name: &str,
        parameters: &BTreeMap<String, Tensor>,
        key: &str,
        change: Change,
        factor: f64,
    ) -> Result<()> {
        let Some(weight) = parameters.get(key) else {
            return Err(Error::shape("GGUF export", format!("a tensor {key}"), "none"));
        };
        let mut weight = weight.f_detach()?.f_to_kind(Kind::Float)?;
        if change == Change::PlusOne {
            weight = weight.f_add_scalar(1.0)?;
        }
        self.tensor(&format!("{name}.weight"), weight.f_mul_scalar(factor)?);
        Ok(())
    }

    fn matrix(
        &mut self,
        name: &str,
        layer: &str,
        shape: [i64; 2],
        wanted: TensorType,
        change: Change,
    ) -> Result<()> {
        let (name, [rows, columns]) = (format!("{name}.weight"), shape);
        let heads = match change {
            Change::Interleaved { heads } => Some(heads),
            _ => None,
        };
        let blocks = self.options.blocks.and_then(|blocks| blocks(layer));
        let (kind, source) = if let Some(matrix) = blocks {
            let expected = rows as usize * matrix.kind.row_bytes(columns as usize);
            if matrix.bytes.len() != expected {
                let expected = format!("{expected} bytes of blocks of {layer}");
                return Err(Error::shape("GGUF export", expected, matrix.bytes.len().to_string()));
            }
            (matrix.kind, Source::Blocks { matrix, heads })
        } else {
            let kind = wanted.fitting(columns as usize);
            if kind != wanted {
                let (name, columns) = (name.clone(), columns as usize);
                self.fallen.push(Fallen { name, columns, wanted, kind });
            }
            let rows_of_head = heads.map_or(1, |heads| rows / heads.max(1));
            (kind, Source::Matrix { layer: layer.to_owned(), change, rows_of_head })
        };
        self.planned.push(Planned { name, shape: shape.to_vec(), kind });
        self.sources.push(source);
        Ok(())
    }

    /// A sentence for each length of row that did not divide.
    fn fallen(&self) -> Vec<String> {
        let mut alike: BTreeMap<(usize, TensorType, TensorType), Vec<&str>> = BTreeMap::new();
        for Fallen { name, columns, wanted, kind } in &self.fallen {
            alike.entry((*columns, *wanted, *kind)).or_default().push(name);
        }
        let sentence = |((columns, wanted, kind), names): (_, Vec<&str>)| {
            let others = match names.len() - 1 {
                0 => String::new(),
                others => format!(" and {others} more"),
            };
            format!(
                "as {kind}, since blocks of {wanted} do not divide rows of {columns} weights: \
                 {}{others}",
                names[0]
            )
        };
        alike.into_iter().map(sentence).collect()
    }
}

impl Source {
    fn write(
        &self,
        decoder: &Decoder,
        planned: &Planned,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Tensor(tensor) => out(&planned.kind.encode(tensor)?),
            Self::Blocks { matrix, heads: None } => out(&matrix.bytes),
            Self::Blocks { matrix, heads: Some(heads) } => {
                let rows = planned.shape[0] as usize;
                let width = matrix.bytes.len() / rows.max(1);
                let half = rows / *heads as usize / 2;
                // Of each head, row i of the first half, then row i of the second.
                let mut bytes = Vec::with_capacity(matrix.bytes.len());
                for head in matrix.bytes.chunks((2 * half * width).max(1)) {
                    for row in 0..half {
                        bytes.extend(&head[row * width..][..width]);
                        bytes.extend(&head[(half + row) * width..][..width]);
                    }
                }
                out(&bytes)
            }
            Self::Matrix { layer, change, rows_of_head } => {
                let (rows, columns) = (planned.shape[0], planned.shape[1]);
                let heads = (CHUNK / columns.max(1) / rows_of_head).max(1);
                let mut start = 0;
                while start < rows {
                    let length = (heads * rows_of_head).min(rows - start);
                    let chunk = self::rows(decoder, layer, start, length)?;
                    let change = match change {
                        Change::Interleaved { .. } => {
                            Change::Interleaved { heads: length / rows_of_head }
                        }
                        other => *other,
                    };
                    out(&planned.kind.encode(&interleaved(&chunk, change)?)?)?;
                    start += length;
                }
                Ok(())
            }
        }
    }
}

/// Rows of a projection, the head or the embedding, in fp32.
fn rows(decoder: &Decoder, layer: &str, start: i64, length: i64) -> Result<Tensor> {
    if layer == decoder.embedding_name() {
        return decoder.embedding().rows(start, length, Kind::Float);
    }
    match decoder.linear(layer) {
        Some(linear) => linear.rows(start, length, Kind::Float),
        None => Err(Error::LinearMissing { name: layer.to_owned() }),
    }
}

/// Half-split rows of each head as interleaved pairs, where that is the change.
fn interleaved(tensor: &Tensor, change: Change) -> Result<Tensor> {
    let Change::Interleaved { heads } = change else { return Ok(tensor.shallow_clone()) };
    let rows = tensor.size()[0];
    let halves = tensor.f_reshape([heads, 2, rows / heads / 2, -1])?;
    Ok(halves.f_transpose(1, 2)?.f_reshape(tensor.size())?)
}
