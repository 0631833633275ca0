//! Who holds which block of the cache, and what free blocks still hold.
//!
//! Blocks are counted references to. One that nobody refers to is free, but keeps what it
//! holds, and the hash that says what that is, until it is given out again; the least recently
//! freed goes first (vLLM's V1 `BlockPool`).

use std::collections::HashMap;

use limbeck_model::paged::BLOCK_SIZE;
use sha2::{Digest, Sha256};

/// End of the list of free blocks.
const NONE: u32 = u32::MAX;

/// What a full block holds: its tokens, all tokens before them, and what else keys and values
/// depend on. 128 bits of SHA-256, so that two contents never have the same in practice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BlockHash(u128);

impl BlockHash {
    /// What comes before the first block: everything but tokens that keys and values depend
    /// on, such as adapters, or that sets caches apart.
    pub(crate) fn root(adapters: Option<&str>, salt: Option<&str>) -> Self {
        let mut hasher = Sha256::new();
        for part in [adapters, salt] {
            hasher.update([u8::from(part.is_some())]);
            let part = part.unwrap_or_default();
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self::of(hasher)
    }

    /// The hash of the block of these tokens after what `self` is of.
    pub(crate) fn then(self, tokens: &[i64]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0.to_le_bytes());
        for token in tokens {
            hasher.update(token.to_le_bytes());
        }
        Self::of(hasher)
    }

    fn of(hasher: Sha256) -> Self {
        let digest: [u8; 32] = hasher.finalize().into();
        let (half, _) = digest.split_at(16);
        Self(half.iter().fold(0, |number, &byte| number << 8 | u128::from(byte)))
    }
}

/// Blocks needed for so many tokens.
pub(crate) fn blocks_for(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_SIZE)
}

/// A fixed number of blocks.
#[derive(Debug)]
pub(crate) struct BlockPool {
    blocks: Vec<Block>,
    /// First and last of the free blocks: the next to be given out, and the last to be.
    head: u32,
    tail: u32,
    num_free: usize,
    cached: HashMap<BlockHash, u32>,
}

#[derive(Debug, Clone)]
struct Block {
    references: u32,
    /// Set while `cached` leads here.
    hash: Option<BlockHash>,
    /// Neighbours among the free blocks.
    previous: u32,
    next: u32,
}

impl BlockPool {
    pub(crate) fn new(num_blocks: usize) -> Self {
        let block = Block { references: 0, hash: None, previous: NONE, next: NONE };
        let mut pool = Self {
            blocks: vec![block; num_blocks],
            head: NONE,
            tail: NONE,
            num_free: 0,
            cached: HashMap::new(),
        };
        for block in 0..num_blocks as u32 {
            pool.append(block);
        }
        pool
    }

    pub(crate) fn num_blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Blocks that nobody refers to, whether they hold something or not.
    pub(crate) fn num_free(&self) -> usize {
        self.num_free
    }

    /// Blocks that a lookup can find.
    pub(crate) fn num_cached(&self) -> usize {
        self.cached.len()
    }

    pub(crate) fn references(&self, block: u32) -> u32 {
        self.block(block).references
    }

    /// The block that holds this.
    pub(crate) fn lookup(&self, hash: BlockHash) -> Option<u32> {
        self.cached.get(&hash).copied()
    }

    /// A block with one reference and nothing in it; none if all are held.
    pub(crate) fn allocate(&mut self) -> Option<u32> {
        if self.head == NONE {
            return None;
        }
        let block = self.head;
        self.unlink(block);
        if let Some(hash) = self.block_mut(block).hash.take() {
            self.cached.remove(&hash);
        }
        self.block_mut(block).references = 1;
        Some(block)
    }

    /// Takes another reference to a block, which may be free.
    pub(crate) fn share(&mut self, block: u32) {
        if self.block(block).references == 0 {
            self.unlink(block);
        }
        self.block_mut(block).references += 1;
    }

    /// Gives back a sequence's blocks. The last is given out again before the first: without
    /// the first, the others cannot be found.
    pub(crate) fn release(&mut self, blocks: &[u32]) {
        for &block in blocks.iter().rev() {
            let held = self.block_mut(block);
            debug_assert!(held.references > 0, "block {block} is given back twice");
            held.references = held.references.saturating_sub(1);
            if held.references > 0 {
                continue;
            }
            if held.hash.is_some() {
                self.append(block);
            } else {
                self.prepend(block);
            }
        }
    }

    /// Lets lookups find what a block holds, unless another that holds it can be found.
    pub(crate) fn register(&mut self, block: u32, hash: BlockHash) {
        if self.block(block).hash.is_none() && !self.cached.contains_key(&hash) {
            self.block_mut(block).hash = Some(hash);
            self.cached.insert(hash, block);
        }
    }

    /// At the end: given out last.
    fn append(&mut self, block: u32) {
        let tail = self.tail;
        let appended = self.block_mut(block);
        (appended.previous, appended.next) = (tail, NONE);
        match tail {
            NONE => self.head = block,
            tail => self.block_mut(tail).next = block,
        }
        self.tail = block;
        self.num_free += 1;
    }

    /// At the beginning: what holds nothing is given out before what may still be of use.
    fn prepend(&mut self, block: u32) {
        let head = self.head;
        let prepended = self.block_mut(block);
        (prepended.previous, prepended.next) = (NONE, head);
        match head {
            NONE => self.tail = block,
            head => self.block_mut(head).previous = block,
        }
        self.head = block;
        self.num_free += 1;
    }

    fn unlink(&mut self, block: u32) {
        let Block { previous, next, .. } = *self.block(block);
        match previous {
            NONE => self.head = next,
            previous => self.block_mut(previous).next = next,
        }
        match next {
            NONE => self.tail = previous,
            next => self.block_mut(next).previous = previous,
        }
        self.num_free -= 1;
    }

    // Block numbers come from this pool alone.
    fn block(&self, block: u32) -> &Block {
        &self.blocks[block as usize]
    }

    fn block_mut(&mut self, block: u32) -> &mut Block {
        &mut self.blocks[block as usize]
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;

    fn hash(number: i64) -> BlockHash {
        BlockHash::root(None, None).then(&[number])
    }

    #[test]
    fn hashes_tell_everything_apart_that_keys_depend_on() {
        let roots = [
            BlockHash::root(None, None),
            BlockHash::root(Some(""), None),
            BlockHash::root(None, Some("")),
            BlockHash::root(Some("a"), None),
            BlockHash::root(None, Some("a")),
            BlockHash::root(Some("a"), Some("b")),
            BlockHash::root(Some("ab"), Some("")),
        ];
        let mut all: Vec<BlockHash> = roots.to_vec();
        for root in roots {
            all.extend([root.then(&[1, 2]), root.then(&[2, 1]), root.then(&[1]).then(&[2])]);
        }
        let distinct: std::collections::HashSet<BlockHash> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn freed_blocks_are_found_until_they_are_given_out_again() {
        let mut pool = BlockPool::new(4);
        let blocks: Vec<u32> = (0..3).map(|_| pool.allocate().unwrap()).collect();
        assert_eq!(blocks, [0, 1, 2]);
        pool.register(0, hash(0));
        pool.register(1, hash(1));
        pool.release(&blocks);
        assert_eq!((pool.num_free(), pool.num_cached()), (4, 2));
        // What holds nothing goes first, then the end of the sequence before its beginning.
        assert_eq!(pool.lookup(hash(1)), Some(1));
        assert_eq!([(); 3].map(|()| pool.allocate()), [Some(2), Some(3), Some(1)]);
        assert_eq!((pool.lookup(hash(1)), pool.lookup(hash(0))), (None, Some(0)));
        pool.share(0);
        assert_eq!((pool.allocate(), pool.num_free()), (None, 0));
        pool.share(0);
        pool.release(&[0]);
        assert_eq!((pool.references(0), pool.num_free()), (1, 0));
        pool.release(&[0]);
        assert_eq!((pool.allocate(), pool.lookup(hash(0))), (Some(0), None));
    }

    #[test]
    fn one_of_two_blocks_with_the_same_content_is_found() {
        let mut pool = BlockPool::new(2);
        let (first, second) = (pool.allocate().unwrap(), pool.allocate().unwrap());
        pool.register(first, hash(0));
        pool.register(second, hash(0));
        assert_eq!((pool.lookup(hash(0)), pool.num_cached()), (Some(first), 1));
        pool.release(&[first, second]);
        assert_eq!(pool.allocate(), Some(second));
        assert_eq!(pool.lookup(hash(0)), Some(first));
    }

    /// Against a model that counts references in a list.
    #[test]
    fn any_order_of_calls_keeps_the_books() {
        let mut rng = CounterRng::new(11);
        let mut pool = BlockPool::new(7);
        let mut held: Vec<Vec<u32>> = Vec::new();
        let mut contents: HashMap<BlockHash, u32> = HashMap::new();
        for round in 0..20_000 {
            match rng.below(4) {
                0 => {
                    if let Some(block) = pool.allocate() {
                        contents.retain(|_, other| *other != block);
                        held.push(vec![block]);
                    } else {
                        assert!((0..7).all(|block| held.concat().contains(&block)));
                    }
                }
                1 if !held.is_empty() => {
                    let blocks = held.swap_remove(rng.below(held.len()));
                    pool.release(&blocks);
                }
                2 if !held.is_empty() => {
                    let block = held[rng.below(held.len())][0];
                    let new = hash(round % 40);
                    let known = contents.contains_key(&new)
                        || contents.values().any(|other| *other == block);
                    pool.register(block, new);
                    if !known {
                        contents.insert(new, block);
                    }
                }
                _ => {
                    if let Some(block) = pool.lookup(hash(rng.below(40) as i64)) {
                        pool.share(block);
                        held.push(vec![block]);
                    }
                }
            }
            let all = held.concat();
            for block in 0..7 {
                let expected = all.iter().filter(|other| **other == block).count();
                assert_eq!(pool.references(block) as usize, expected);
            }
            let free = (0..7).filter(|block| !all.contains(block)).count();
            assert_eq!(pool.num_free(), free);
            assert!(contents.iter().all(|(hash, block)| pool.lookup(*hash) == Some(*block)));
            assert_eq!(pool.num_cached(), contents.len());
        }
    }
}
