//! Writes a GGUF file, version 3: metadata, the list of tensors, their data. Tensors are made one
//! after another while the file is written, so that no two are in memory.

use std::io::{BufWriter, Write};
use std::path::Path;

use limbeck_run::AtomicFile;

use super::tensor_type::TensorType;
use crate::error::{Error, Result};

const MAGIC: &[u8; 4] = b"GGUF";
const VERSION: u32 = 3;
const ALIGNMENT: usize = 32;

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum MetaValue {
    U32(u32),
    F32(f32),
    Bool(bool),
    String(String),
    Strings(Vec<String>),
    Floats(Vec<f32>),
    Integers(Vec<i32>),
}

impl MetaValue {
    fn write(&self, out: &mut Vec<u8>) {
        const U32: u32 = 4;
        const I32: u32 = 5;
        const F32: u32 = 6;
        const BOOL: u32 = 7;
        const STRING: u32 = 8;
        const ARRAY: u32 = 9;
        let mut array = |element: u32, count: usize| {
            out.extend(ARRAY.to_le_bytes());
            out.extend(element.to_le_bytes());
            out.extend((count as u64).to_le_bytes());
        };
        match self {
            Self::Strings(values) => {
                array(STRING, values.len());
                for value in values {
                    string(out, value);
                }
            }
            Self::Floats(values) => {
                array(F32, values.len());
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            Self::Integers(values) => {
                array(I32, values.len());
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            Self::U32(value) => {
                out.extend(U32.to_le_bytes());
                out.extend(value.to_le_bytes());
            }
            Self::F32(value) => {
                out.extend(F32.to_le_bytes());
                out.extend(value.to_le_bytes());
            }
            Self::Bool(value) => {
                out.extend(BOOL.to_le_bytes());
                out.push(u8::from(*value));
            }
            Self::String(value) => {
                out.extend(STRING.to_le_bytes());
                string(out, value);
            }
        }
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Keys and values, in the order of the file.
pub(super) type Metadata = Vec<(String, MetaValue)>;

/// Where a tensor's bytes go, in pieces.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// A tensor to be written.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) name: String,
    /// Outermost axis first, as Hugging Face has it.
    pub(super) shape: Vec<i64>,
    pub(super) kind: TensorType,
}

impl Planned {
    pub(super) fn columns(&self) -> usize {
        self.shape.last().map_or(1, |&size| size as usize)
    }

    pub(super) fn bytes(&self) -> usize {
        let elements: i64 = self.shape.iter().product();
        let columns = self.columns();
        elements as usize / columns.max(1) * self.kind.row_bytes(columns)
    }
}

/// Writes the file at `path`; `data` is called once for each tensor, in order, and writes its
/// bytes.
///
/// # Errors
/// Those of `data`; one that wrote more or less than its tensor has; write errors.
pub(super) fn write(
    path: &Path,
    metadata: &[(String, MetaValue)],
    tensors: &[Planned],
    data: &mut dyn FnMut(usize, Sink<'_>) -> Result<()>,
) -> Result<u64> {
    let mut header = Vec::new();
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        string(&mut header, key);
        value.write(&mut header);
    }
    let mut offset = 0;
    for tensor in tensors {
        string(&mut header, &tensor.name);
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        for size in tensor.shape.iter().rev() {
            header.extend(size.to_le_bytes());
        }
        header.extend(tensor.kind.id().to_le_bytes());
        header.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);

    let failed = |source| Error::Run(limbeck_run::Error::write(path, source));
    let mut out = BufWriter::with_capacity(1 << 20, AtomicFile::create(path)?);
    out.write_all(&header).map_err(failed)?;
    for (index, tensor) in tensors.iter().enumerate() {
        let mut written = 0;
        data(index, &mut |bytes| {
            written += bytes.len();
            out.write_all(bytes).map_err(failed)
        })?;
        if written != tensor.bytes() {
            let expected = format!("{} bytes of {}", tensor.bytes(), tensor.name);
            return Err(Error::shape("GGUF export", expected, written.to_string()));
        }
        let padding = written.next_multiple_of(ALIGNMENT) - written;
        out.write_all(&[0; ALIGNMENT][..padding]).map_err(failed)?;
    }
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.commit()?;
    Ok((header.len() + offset) as u64)
}
