//! Bytes of a decoder's matrices in memory: what bounds the speed of generation.

use std::any::Any;

use limbeck_model::{Decoder, Linear};

use crate::nf4::{Nf4Embedding, Nf4Linear};
use crate::packed_embedding::PackedEmbedding;
use crate::packed_linear::{PackedLinear, tensor_bytes};

/// Bytes of matrices that a forward pass of one token reads: all projections and the head, and
/// of an embedding of its own nothing worth counting.
///
/// At `b` bytes a second from memory, no more than `b / bytes` tokens a second can be generated
/// one by one.
pub fn bytes_per_token(decoder: &Decoder) -> u64 {
    let linears = decoder.linear_names();
    let blocks: u64 =
        linears.iter().filter_map(|name| decoder.linear(name)).map(linear_bytes).sum();
    let head = match decoder.linear("lm_head") {
        Some(head) if decoder.head_name().is_some() => linear_bytes(head),
        _ => embedding_bytes(decoder),
    };
    blocks + head
}

fn linear_bytes(layer: &dyn Linear) -> u64 {
    let any: &dyn Any = layer;
    if let Some(layer) = any.downcast_ref::<PackedLinear>() {
        return layer.bytes();
    }
    if let Some(layer) = any.downcast_ref::<Nf4Linear>() {
        return layer.matrix().bytes();
    }
    layer.tensors().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum()
}

fn embedding_bytes(decoder: &Decoder) -> u64 {
    let any: &dyn Any = decoder.embedding();
    if let Some(embedding) = any.downcast_ref::<PackedEmbedding>() {
        return embedding.packed().bytes();
    }
    if let Some(embedding) = any.downcast_ref::<Nf4Embedding>() {
        return embedding.matrix().bytes();
    }
    decoder.embedding().tensors().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum()
}
