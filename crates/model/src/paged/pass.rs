//! What a paged forward pass computes.

use crate::error::{Error, Result};

use super::BLOCK_SIZE;

/// Tokens of several sequences, one after the other, without padding.
#[derive(Debug, Clone, Copy)]
pub struct PagedPass<'a> {
    /// Token ids of all spans.
    pub tokens: &'a [i64],
    /// Whose tokens these are, in their order; together they are all of `tokens`.
    pub spans: &'a [PagedSpan<'a>],
    /// Whether each span attends by itself, so that what it computes is not rounded otherwise
    /// because of the others. Slower.
    pub apart: bool,
}

/// New tokens of one sequence, which stand beside each other in a pass.
///
/// A sequence may have several spans in a pass, the earlier tokens first: keys and values of
/// all spans are written before any attends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagedSpan<'a> {
    /// Where the span's tokens begin in the pass.
    pub query_start: usize,
    /// New tokens, at least 1.
    pub query_len: usize,
    /// Tokens of the sequence up to the last new one. The new ones are at the positions
    /// `kv_len - query_len..kv_len`.
    pub kv_len: usize,
    /// Blocks of the sequence: position `p` lies in block `blocks[p / 16]` at offset `p % 16`.
    pub blocks: &'a [u32],
}

impl PagedSpan<'_> {
    /// Positions of the new tokens.
    pub(crate) fn positions(&self) -> std::ops::Range<usize> {
        self.kv_len - self.query_len..self.kv_len
    }

    /// The slot of a position; the span has been checked.
    pub(crate) fn slot(&self, position: usize) -> i64 {
        let block = self.blocks[position / BLOCK_SIZE] as usize;
        (block * BLOCK_SIZE + position % BLOCK_SIZE) as i64
    }
}

impl PagedPass<'_> {
    /// Refuses what a pool of `num_blocks` blocks and a vocabulary cannot serve.
    pub(crate) fn check(&self, num_blocks: usize, vocab_size: i64) -> Result<()> {
        if self.tokens.is_empty() {
            return Err(Error::shape("paged pass", "at least one token", "none"));
        }
        if let Some(&token) = self.tokens.iter().find(|token| !(0..vocab_size).contains(*token)) {
            return Err(Error::TokenOutOfRange { token, vocab_size });
        }
        let mut end = 0;
        for span in self.spans {
            let needed = span.kv_len.div_ceil(BLOCK_SIZE);
            let whole = span.query_len > 0 && span.query_len <= span.kv_len;
            if span.query_start != end || !whole || needed > span.blocks.len() {
                return Err(Error::shape(
                    "paged span",
                    format!("tokens from {end} on and {needed} blocks"),
                    format!(
                        "{} of {} tokens from {} on and {} blocks",
                        span.query_len,
                        span.kv_len,
                        span.query_start,
                        span.blocks.len()
                    ),
                ));
            }
            let blocks = &span.blocks[..needed];
            if let Some(block) = blocks.iter().find(|&&block| block as usize >= num_blocks) {
                return Err(Error::shape(
                    "paged span",
                    format!("blocks below {num_blocks}"),
                    block.to_string(),
                ));
            }
            end += span.query_len;
        }
        if end != self.tokens.len() {
            return Err(Error::shape(
                "paged pass",
                format!("spans over {} tokens", self.tokens.len()),
                end.to_string(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_do_not_fit_are_refused() {
        let check = |tokens: &[i64], spans: &[PagedSpan<'_>]| {
            PagedPass { tokens, spans, apart: false }
                .check(4, 10)
                .map_err(|error| error.to_string())
        };
        let blocks = [3, 0];
        let span = PagedSpan { query_start: 0, query_len: 2, kv_len: 18, blocks: &blocks };
        check(&[1, 2], &[span]).unwrap();
        assert!(check(&[], &[]).unwrap_err().contains("at least one token"));
        assert!(check(&[1, 10], &[span]).unwrap_err().contains("token id 10"));
        assert!(check(&[1, 2, 3], &[span]).unwrap_err().contains("spans over 3"));
        for wrong in [
            PagedSpan { query_start: 1, ..span },
            PagedSpan { query_len: 0, ..span },
            PagedSpan { kv_len: 1, ..span },
            PagedSpan { kv_len: 33, ..span },
        ] {
            assert!(check(&[1, 2], &[wrong]).unwrap_err().contains("paged span"), "{wrong:?}");
        }
        let wrong = PagedSpan { blocks: &[3, 4], ..span };
        assert!(check(&[1, 2], &[wrong]).unwrap_err().contains("blocks below 4"));
    }
}
