//! Attention that reads keys and values where they lie in blocks, in vector instructions.
//!
//! A vector holds one feature of 16 keys: a query's 16 scores are built without adding up
//! across a vector, whatever the head's width, and several queries share each load. Every row
//! of a pass is computed by itself, in an order of its own slots: neither its neighbours nor
//! the threads change a bit of it.

#![expect(
    clippy::inline_always,
    reason = "compiled into callers that are compiled for the instructions"
)]

use std::sync::Mutex;

use limbeck_core::lanes::{Instructions, Kernel, LANES, Lanes};
use limbeck_core::team;

use super::tiled::{Stored, TiledLayer, Tiles};
use super::{BLOCK_SIZE, PagedSpan};

/// Query rows that share a pass over keys and values.
const ROWS: usize = 8;
/// Slots of a part: a row that sees more is computed in parts, by several threads, that are
/// joined in order.
const PART: usize = 16 * BLOCK_SIZE;

impl<S: Stored> TiledLayer<S> {
    /// Causal attention of each span's new tokens over all of its sequence's, or over the last
    /// `window` of them.
    ///
    /// # Shapes
    /// Query and output `[tokens, heads, head_dim]`.
    pub(crate) fn attend(
        &self,
        query: &[f32],
        spans: &[PagedSpan<'_>],
        window: Option<usize>,
        scale: f32,
        output: &mut [f32],
    ) {
        self.attend_with(Instructions::best(), query, spans, (window, scale), output);
    }

    fn attend_with(
        &self,
        instructions: Instructions,
        query: &[f32],
        spans: &[PagedSpan<'_>],
        (window, scale): (Option<usize>, f32),
        output: &mut [f32],
    ) {
        let tokens: usize = spans.iter().map(|span| span.query_len).sum();
        let heads = query.len() / (tokens * self.head_dim).max(1);
        let group = heads / self.kv_heads;
        let mut parts = Vec::new();
        for span in spans {
            let shape = SpanShape { span, heads, group, window };
            for kv_head in 0..self.kv_heads {
                for row in (0..span.query_len * group).step_by(ROWS) {
                    shape.push_parts(kv_head, row, &mut parts);
                }
            }
        }
        let results: Vec<_> = parts.iter().map(|_| Mutex::new(None)).collect();
        team::for_each(parts.len(), &|index| {
            let kernel = PartKernel { layer: self, query, part: &parts[index], scale };
            let result = instructions.run(kernel);
            // Nobody waits: a place is one task's.
            if let Ok(mut place) = results[index].lock() {
                *place = Some(result);
            }
        });
        let results: Vec<Sums> =
            results.into_iter().filter_map(|place| place.into_inner().ok().flatten()).collect();
        let mut rest = parts.iter().zip(&results).peekable();
        while let Some((part, sums)) = rest.next() {
            let mut joined = vec![sums];
            while let Some((_, sums)) = rest.next_if(|(next, _)| next.continues(part)) {
                joined.push(sums);
            }
            for (row, place) in part.places.iter().enumerate() {
                let start = place.head * self.head_dim;
                join(&joined, row, self.value_width, &mut output[start..start + self.head_dim]);
            }
        }
    }
}

/// A span of a pass.
struct SpanShape<'a> {
    span: &'a PagedSpan<'a>,
    heads: usize,
    group: usize,
    window: Option<usize>,
}

/// Up to [`ROWS`] rows that read some blocks of one head.
struct Part<'a> {
    span: &'a PagedSpan<'a>,
    kv_head: usize,
    first_row: usize,
    places: Vec<Place>,
    /// Slots that any of the rows sees, of those of this part.
    slots: (usize, usize),
}

/// A row: one head of one token.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Counted over tokens and heads.
    head: usize,
    /// The slots that it sees.
    begin: usize,
    end: usize,
}

impl<'a> SpanShape<'a> {
    /// The parts of the rows from `first_row` on, in order.
    fn push_parts(&self, kv_head: usize, first_row: usize, parts: &mut Vec<Part<'a>>) {
        let rows = (self.span.query_len * self.group - first_row).min(ROWS);
        let places: Vec<Place> = (first_row..first_row + rows)
            .map(|row| {
                let (token, member) = (row / self.group, row % self.group);
                let end = self.span.kv_len - self.span.query_len + token + 1;
                Place {
                    head: (self.span.query_start + token) * self.heads
                        + kv_head * self.group
                        + member,
                    begin: self.window.map_or(0, |window| end.saturating_sub(window)),
                    end,
                }
            })
            .collect();
        // The first row sees the earliest slot and the last row the latest.
        let begin = places.first().map_or(0, |place| place.begin);
        let end = places.last().map_or(0, |place| place.end);
        for part in begin / PART..end.div_ceil(PART) {
            parts.push(Part {
                span: self.span,
                kv_head,
                first_row,
                places: places.clone(),
                slots: (begin.max(part * PART), end.min((part + 1) * PART)),
            });
        }
    }
}

impl Part<'_> {
    /// Whether this is of the same rows.
    fn continues(&self, other: &Self) -> bool {
        std::ptr::eq(self.span, other.span)
            && (self.kv_head, self.first_row) == (other.kv_head, other.first_row)
    }
}

/// What rows found in the slots of a part.
#[derive(Debug)]
struct Sums {
    /// The highest score of each row; -inf where it saw nothing.
    highest: [f32; ROWS],
    /// `Σ e^(score - highest)`
    weights: [f32; ROWS],
    /// The values times these, `[rows, value_width]`.
    values: Vec<f32>,
}

/// Writes a row of the parts' values over their weights.
fn join(parts: &[&Sums], row: usize, width: usize, output: &mut [f32]) {
    let highest = parts.iter().fold(f32::NEG_INFINITY, |most, sums| most.max(sums.highest[row]));
    let shares: Vec<f32> = parts.iter().map(|sums| (sums.highest[row] - highest).exp()).collect();
    let total: f32 = parts.iter().zip(&shares).map(|(sums, share)| share * sums.weights[row]).sum();
    output.fill(0.0);
    for (sums, share) in parts.iter().zip(&shares) {
        let factor = share / total;
        let values = &sums.values[row * width..(row + 1) * width];
        for (output, value) in output.iter_mut().zip(values) {
            *output += value * factor;
        }
    }
}

struct PartKernel<'a, S> {
    layer: &'a TiledLayer<S>,
    query: &'a [f32],
    part: &'a Part<'a>,
    scale: f32,
}

impl<S: Stored> Kernel for PartKernel<'_, S> {
    type Output = Sums;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Sums {
        // Rows that are not there cost less than another sequence of sums would differ.
        if self.part.places.len() <= ROWS / 2 {
            self.sums::<L, { ROWS / 2 }>()
        } else {
            self.sums::<L, ROWS>()
        }
    }
}

impl<S: Stored> PartKernel<'_, S> {
    #[inline(always)]
    fn sums<L: Lanes, const R: usize>(&self) -> Sums {
        let (begin, end) = self.part.slots;
        let blocks = begin / BLOCK_SIZE..end.div_ceil(BLOCK_SIZE);
        let mut scores = vec![[[0.0; LANES]; R]; blocks.len()];
        let mut highest = [f32::NEG_INFINITY; ROWS];
        let columns = self.columns::<R>();
        let mut tops = [L::all(f32::NEG_INFINITY); R];
        for (block, scores) in blocks.clone().zip(&mut scores) {
            self.score::<L, R>(block, &columns, scores);
            for (top, scores) in tops.iter_mut().zip(scores.iter()) {
                *top = top.max(L::of(scores));
            }
        }
        for (highest, top) in highest.iter_mut().zip(tops) {
            let mut numbers = [0.0; LANES];
            top.store(&mut numbers);
            *highest = numbers.into_iter().fold(f32::NEG_INFINITY, f32::max);
        }
        let width = self.layer.value_width;
        let mut values = vec![0.0; R * width];
        let mut weights = [L::zero(); R];
        for (block, scores) in blocks.zip(&mut scores) {
            self.weigh::<L, R>(block, &highest, scores, &mut weights);
            self.add_values::<L, R>(block, scores, &mut values);
        }
        let mut totals = [0.0; ROWS];
        for (total, weights) in totals.iter_mut().zip(weights) {
            let mut numbers = [0.0; LANES];
            weights.store(&mut numbers);
            *total = numbers.iter().sum();
        }
        Sums { highest, weights: totals, values }
    }

    /// The rows' queries feature by feature, scaled.
    #[inline(always)]
    fn columns<const R: usize>(&self) -> Vec<[f32; R]> {
        let width = self.layer.head_dim;
        let mut columns = vec![[0.0; R]; width];
        for (row, place) in self.part.places.iter().enumerate() {
            let query = &self.query[place.head * width..(place.head + 1) * width];
            for (column, value) in columns.iter_mut().zip(query) {
                column[row] = value * self.scale;
            }
        }
        columns
    }

    /// The block that holds block `index` of the sequence, and its head counted over all blocks.
    #[inline(always)]
    fn head(&self, index: usize) -> usize {
        self.part.span.blocks[index] as usize * self.layer.kv_heads + self.part.kv_head
    }

    /// Scores of all rows with a block's keys; -inf where a row does not see a key.
    #[inline(always)]
    fn score<L: Lanes, const R: usize>(
        &self,
        block: usize,
        columns: &[[f32; R]],
        scores: &mut [[f32; LANES]; R],
    ) {
        let head = self.head(block);
        let start = head * self.layer.head_dim * BLOCK_SIZE;
        let keys = &self.layer.keys.numbers[start..start + columns.len() * BLOCK_SIZE];
        let (keys, _) = keys.as_chunks::<LANES>();
        let mut sums = [L::zero(); R];
        for (key, column) in keys.iter().zip(columns) {
            let key: L = S::load(key);
            for (sum, &value) in sums.iter_mut().zip(column) {
                *sum = sum.add_scaled(key, value);
            }
        }
        if S::SCALED {
            let scales = L::of(scales(&self.layer.keys, head));
            for sum in &mut sums {
                *sum = L::zero().add_product(*sum, scales);
            }
        }
        for (scores, sum) in scores.iter_mut().zip(sums) {
            sum.store(scores);
        }
        let first = block * BLOCK_SIZE;
        for (row, scores) in scores.iter_mut().enumerate() {
            let (begin, end) =
                self.part.places.get(row).map_or((0, 0), |place| (place.begin, place.end));
            if begin > first || end < first + BLOCK_SIZE {
                for (slot, score) in (first..).zip(scores) {
                    if slot < begin || slot >= end {
                        *score = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }

    /// Turns scores into weights, and adds these up.
    #[inline(always)]
    fn weigh<L: Lanes, const R: usize>(
        &self,
        block: usize,
        highest: &[f32; ROWS],
        scores: &mut [[f32; LANES]; R],
        weights: &mut [L; R],
    ) {
        let first = block * BLOCK_SIZE;
        for (row, (scores, weights)) in scores.iter_mut().zip(weights).enumerate() {
            let (begin, end) =
                self.part.places.get(row).map_or((0, 0), |place| (place.begin, place.end));
            // What nothing is seen of has no highest score.
            let top = if highest[row] == f32::NEG_INFINITY { 0.0 } else { highest[row] };
            L::of(scores).add(L::all(-top)).exp().store(scores);
            if begin > first || end < first + BLOCK_SIZE {
                for (slot, score) in (first..).zip(scores.iter_mut()) {
                    if slot < begin || slot >= end {
                        *score = 0.0;
                    }
                }
            }
            *weights = weights.add(L::of(scores));
            if S::SCALED {
                let scales = L::of(scales(&self.layer.values, self.head(block)));
                L::zero().add_product(L::of(scores), scales).store(scores);
            }
        }
    }

    /// Adds the weighted values of a block's slots that are seen to each row.
    #[inline(always)]
    fn add_values<L: Lanes, const R: usize>(
        &self,
        block: usize,
        weights: &[[f32; LANES]; R],
        sums: &mut [f32],
    ) {
        let width = self.layer.value_width;
        let (begin, end) = self.part.slots;
        let first = block * BLOCK_SIZE;
        // Slots that no row sees may hold anything, also what is no number.
        let seen = begin.max(first) - first..end.min(first + BLOCK_SIZE) - first;
        let start = self.head(block) * BLOCK_SIZE * width;
        let values = &self.layer.values.numbers[start..start + BLOCK_SIZE * width];
        for chunk in (0..width).step_by(LANES) {
            let mut held = [L::zero(); R];
            for (row, held) in held.iter_mut().enumerate() {
                *held = L::of(lanes(sums, row * width + chunk));
            }
            for slot in seen.clone() {
                let value: L = S::load(lanes(values, slot * width + chunk));
                for (held, weights) in held.iter_mut().zip(weights) {
                    *held = held.add_scaled(value, weights[slot]);
                }
            }
            for (row, held) in held.into_iter().enumerate() {
                let place = row * width + chunk;
                if let Some(place) = sums[place..].first_chunk_mut() {
                    held.store(place);
                }
            }
        }
    }
}

/// The vector from a place on.
#[inline(always)]
fn lanes<T>(numbers: &[T], start: usize) -> &[T; LANES] {
    let (chunks, _) = numbers[start..].as_chunks::<LANES>();
    &chunks[0]
}

#[inline(always)]
fn scales<S>(tiles: &Tiles<S>, head: usize) -> &[f32; LANES] {
    lanes(&tiles.scales, head * BLOCK_SIZE)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    const KV_HEADS: i64 = 2;
    const GROUP: i64 = 3;

    /// A sequence in a cache of shuffled blocks, beside what nobody should read.
    struct Case {
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        blocks: Vec<u32>,
    }

    impl Case {
        fn new(length: i64, queries: i64, head_dim: i64, first_block: u32) -> Self {
            let options = (Kind::Float, Device::Cpu);
            let count = (length as usize).div_ceil(BLOCK_SIZE) as u32;
            Self {
                query: Tensor::randn([queries, KV_HEADS * GROUP, head_dim], options),
                keys: Tensor::randn([length, KV_HEADS, head_dim], options),
                values: Tensor::randn([length, KV_HEADS, head_dim], options),
                blocks: (0..count).map(|block| first_block + (block * 5 + 3) % count).collect(),
            }
        }

        fn span(&self, query_start: usize) -> PagedSpan<'_> {
            PagedSpan {
                query_start,
                query_len: self.query.size()[0] as usize,
                kv_len: self.keys.size()[0] as usize,
                blocks: &self.blocks,
            }
        }

        fn write<S: Stored>(&self, layer: &mut TiledLayer<S>) {
            let length = self.keys.size()[0] as usize;
            let slots: Vec<i64> = (0..length)
                .map(|slot| {
                    (self.blocks[slot / BLOCK_SIZE] as usize * BLOCK_SIZE + slot % BLOCK_SIZE)
                        as i64
                })
                .collect();
            layer.write(&slots, &numbers(&self.keys), &numbers(&self.values));
        }

        /// Softmax attention in float64.
        fn expected(&self, window: Option<usize>, scale: f64) -> Vec<f32> {
            let (queries, length) = (self.query.size()[0], self.keys.size()[0]);
            let heads = |tensor: &Tensor| tensor.to_kind(Kind::Double).transpose(0, 1);
            let repeat = |tensor: &Tensor| heads(tensor).repeat_interleave_self_int(GROUP, 0, None);
            let scores = heads(&self.query).matmul(&repeat(&self.keys).transpose(1, 2)) * scale;
            let query = Tensor::arange(queries, (Kind::Int64, Device::Cpu)) + (length - queries);
            let key = Tensor::arange(length, (Kind::Int64, Device::Cpu));
            let distance = query.unsqueeze(1) - key.unsqueeze(0);
            let window = window.map_or(length, |window| window as i64);
            let hidden = distance.lt(0).logical_or(&distance.ge(window));
            let weights = scores.masked_fill(&hidden, f64::NEG_INFINITY).softmax(-1, Kind::Double);
            numbers(&weights.matmul(&repeat(&self.values)).transpose(0, 1))
        }
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.to_kind(Kind::Float).reshape([-1])).unwrap()
    }

    fn close(found: &[f32], expected: &[f32], tolerance: f32) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < tolerance, "{found} is not {expected}");
        }
    }

    /// All spans in one pass.
    fn attend<S: Stored>(
        instructions: Instructions,
        cases: &[Case],
        window: Option<usize>,
        scale: f32,
    ) -> Vec<Vec<f32>> {
        let head_dim = cases[0].keys.size()[2] as usize;
        let blocks = cases.iter().flat_map(|case| &case.blocks).max().unwrap() + 3;
        let mut layer = TiledLayer::<S>::new(blocks as usize, KV_HEADS as usize, head_dim);
        // What a slot holds that is not seen must not matter.
        let all: Vec<i64> = (0..(blocks as usize * BLOCK_SIZE) as i64).collect();
        let garbage = vec![f32::NAN; all.len() * KV_HEADS as usize * head_dim];
        layer.write(&all, &garbage, &garbage);
        for case in cases {
            case.write(&mut layer);
        }
        let query: Vec<f32> = cases.iter().flat_map(|case| numbers(&case.query)).collect();
        let mut start = 0;
        let spans: Vec<PagedSpan<'_>> = cases
            .iter()
            .map(|case| {
                let span = case.span(start);
                start += span.query_len;
                span
            })
            .collect();
        let mut output = vec![f32::NAN; query.len()];
        layer.attend_with(instructions, &query, &spans, (window, scale), &mut output);
        let mut rest = output.as_slice();
        let sizes = cases.iter().map(|case| case.query.numel());
        sizes.map(|size| rest.split_off(..size).unwrap().to_vec()).collect()
    }

    #[test]
    fn spans_of_all_lengths_are_softmax_attention() {
        tch::manual_seed(1);
        for instructions in Instructions::available() {
            for (head_dim, window) in [(8, None), (32, Some(20)), (40, None), (64, Some(1500))] {
                let mut first_block = 1;
                let cases: Vec<Case> =
                    [(1, 1), (7, 7), (16, 1), (33, 5), (100, 33), (2100, 2), (1024, 1)]
                        .into_iter()
                        .map(|(length, queries)| {
                            let case = Case::new(length, queries, head_dim, first_block);
                            first_block += case.blocks.len() as u32 + 1;
                            case
                        })
                        .collect();
                let found = attend::<f32>(instructions, &cases, window, 0.3);
                for (case, found) in cases.iter().zip(&found) {
                    close(found, &case.expected(window, f64::from(0.3_f32)), 2e-5);
                }
            }
        }
    }

    #[test]
    fn eight_bits_round_keys_and_values_only() {
        tch::manual_seed(2);
        let mut case = Case::new(50, 3, 32, 1);
        let rounded = |tensor: &Tensor| {
            let scale = tensor.abs().amax([-1_i64].as_slice(), true) / 127.0;
            (tensor / &scale).round() * scale
        };
        let exact = attend::<i8>(Instructions::best(), std::slice::from_ref(&case), None, 0.2);
        (case.keys, case.values) = (rounded(&case.keys), rounded(&case.values));
        close(&exact[0], &case.expected(None, f64::from(0.2_f32)), 2e-5);
    }

    #[test]
    fn neighbours_and_the_length_of_spans_change_no_bit() {
        tch::manual_seed(3);
        for instructions in Instructions::available() {
            let whole = Case::new(1100, 40, 32, 40);
            let alone = attend::<f32>(instructions, std::slice::from_ref(&whole), Some(1050), 0.3);
            // The same tokens one at a time, beside another span.
            let row = (KV_HEADS * GROUP * 32) as usize;
            for token in [0, 13, 39] {
                let length = 1100 - 40 + token + 1;
                let step = Case {
                    query: whole.query.narrow(0, token, 1),
                    keys: whole.keys.narrow(0, 0, length),
                    values: whole.values.narrow(0, 0, length),
                    blocks: whole.blocks.clone(),
                };
                let neighbour = Case::new(30, 3, 32, 1);
                let found = attend::<f32>(instructions, &[neighbour, step], Some(1050), 0.3);
                let start = token as usize * row;
                assert_eq!(found[1], alone[0][start..start + row], "token {token}");
            }
        }
    }

    #[test]
    fn a_copied_block_is_read_as_the_first() {
        let mut case = Case::new(16, 1, 16, 0);
        let mut layer = TiledLayer::<i8>::new(3, KV_HEADS as usize, 16);
        case.write(&mut layer);
        let mut outputs = [vec![0.0; case.query.numel()], vec![1.0; case.query.numel()]];
        let query = numbers(&case.query);
        layer.attend(&query, &[case.span(0)], None, 1.0, &mut outputs[0]);
        layer.copy_block(case.blocks[0] as usize, 2);
        case.blocks = vec![2];
        layer.attend(&query, &[case.span(0)], None, 1.0, &mut outputs[1]);
        assert_eq!(outputs[0], outputs[1]);
    }
}
