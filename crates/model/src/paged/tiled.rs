//! Keys and values of one layer on the CPU, in blocks of 16 slots that a table finds (after
//! Kwon et al. 2023, arXiv:2309.06180).
//!
//! A block's keys are transposed, so that a vector holds one feature of 16 keys: what
//! `kernel` reads.

#![expect(
    clippy::inline_always,
    reason = "compiled into callers that are compiled for the instructions"
)]

use limbeck_core::lanes::{LANES, Lanes};

use super::BLOCK_SIZE;

// A block of keys is a vector.
const _: () = assert!(BLOCK_SIZE == LANES);

/// Numbers that a cache holds: fp32, or codes of 8 bits with a scale for each slot and head.
pub(crate) trait Stored: Copy + Default + Send + Sync + 'static {
    /// Whether there are scales.
    const SCALED: bool;

    /// A vector of them, unscaled.
    fn load<L: Lanes>(numbers: &[Self; LANES]) -> L;

    /// What is stored of a number where the largest of its slot and head is `largest`.
    fn of(number: f32, largest: f32) -> Self;
}

impl Stored for f32 {
    const SCALED: bool = false;

    #[inline(always)]
    fn load<L: Lanes>(numbers: &[Self; LANES]) -> L {
        L::of(numbers)
    }

    #[inline(always)]
    fn of(number: f32, _: f32) -> Self {
        number
    }
}

impl Stored for i8 {
    const SCALED: bool = true;

    #[inline(always)]
    fn load<L: Lanes>(numbers: &[Self; LANES]) -> L {
        L::of_codes(numbers)
    }

    #[inline(always)]
    fn of(number: f32, largest: f32) -> Self {
        (number / largest * CODES).round() as Self
    }
}

/// The code of the largest number.
const CODES: f32 = 127.0;

/// Keys and values of one layer.
#[derive(Debug)]
pub(crate) struct TiledLayer<S> {
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// `head_dim`, filled up to whole vectors.
    pub(crate) value_width: usize,
    pub(crate) keys: Tiles<S>,
    pub(crate) values: Tiles<S>,
}

/// Keys `[blocks, kv_heads, head_dim, 16]` or values `[blocks, kv_heads, 16, value_width]`.
#[derive(Debug)]
pub(crate) struct Tiles<S> {
    pub(crate) numbers: Vec<S>,
    /// `[blocks, kv_heads, 16]`; empty where there are none.
    pub(crate) scales: Vec<f32>,
}

impl<S: Stored> Tiles<S> {
    fn new(heads: usize, width: usize) -> Self {
        let scales = if S::SCALED { heads * BLOCK_SIZE } else { 0 };
        Self { numbers: vec![S::default(); heads * width * BLOCK_SIZE], scales: vec![0.0; scales] }
    }

    /// Stores the numbers of a slot of head `head`, counted over all blocks, each at its place.
    fn write(&mut self, head: usize, slot: usize, numbers: &[f32], place: impl Fn(usize) -> usize) {
        let largest = numbers.iter().fold(f32::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
        for (feature, &number) in numbers.iter().enumerate() {
            self.numbers[place(feature)] = S::of(number, largest);
        }
        if S::SCALED {
            self.scales[head * BLOCK_SIZE + slot] = largest / CODES;
        }
    }

    fn copy(&mut self, from: usize, to: usize, blocks: usize) {
        fn copy<T: Copy>(numbers: &mut [T], from: usize, to: usize, blocks: usize) {
            let size = numbers.len() / blocks;
            numbers.copy_within(from * size..(from + 1) * size, to * size);
        }
        copy(&mut self.numbers, from, to, blocks);
        copy(&mut self.scales, from, to, blocks);
    }
}

impl<S: Stored> TiledLayer<S> {
    /// Room for `blocks` blocks, all zeros.
    pub(crate) fn new(blocks: usize, kv_heads: usize, head_dim: usize) -> Self {
        let value_width = head_dim.next_multiple_of(LANES);
        let heads = blocks * kv_heads;
        Self {
            kv_heads,
            head_dim,
            value_width,
            keys: Tiles::new(heads, head_dim),
            values: Tiles::new(heads, value_width),
        }
    }

    fn blocks(&self) -> usize {
        self.keys.numbers.len() / (self.kv_heads * self.head_dim * BLOCK_SIZE).max(1)
    }

    /// Writes tokens at these slots, counted over all blocks.
    ///
    /// # Shapes
    /// Keys and values `[tokens, kv_heads, head_dim]`.
    pub(crate) fn write(&mut self, slots: &[i64], keys: &[f32], values: &[f32]) {
        let (width, value_width) = (self.head_dim, self.value_width);
        let token = self.kv_heads * width;
        let tokens = keys.chunks_exact(token).zip(values.chunks_exact(token));
        for (&slot, (keys, values)) in slots.iter().zip(tokens) {
            let (block, slot) = (slot as usize / BLOCK_SIZE, slot as usize % BLOCK_SIZE);
            let heads = keys.chunks_exact(width).zip(values.chunks_exact(width));
            for (head, (keys, values)) in (block * self.kv_heads..).zip(heads) {
                let start = head * width * BLOCK_SIZE;
                self.keys.write(head, slot, keys, |feature| start + feature * BLOCK_SIZE + slot);
                let start = (head * BLOCK_SIZE + slot) * value_width;
                self.values.write(head, slot, values, |feature| start + feature);
            }
        }
    }

    /// Copies what block `from` holds into block `to`.
    pub(crate) fn copy_block(&mut self, from: usize, to: usize) {
        let blocks = self.blocks();
        self.keys.copy(from, to, blocks);
        self.values.copy(from, to, blocks);
    }
}
