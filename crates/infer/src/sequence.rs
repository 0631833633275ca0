//! A reply with its prompt, as the scheduler sees it: tokens, and how many of them have keys
//! and values in which blocks.

use limbeck_model::paged::BLOCK_SIZE;

use crate::blocks::BlockHash;

/// One reply of a request; before the prompt has been read, all of them.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    pub(crate) request: u64,
    pub(crate) choice: usize,
    pub(crate) priority: i32,
    /// The prompt and what was chosen since.
    pub(crate) tokens: Vec<i64>,
    /// Of the tokens, how many have keys and values.
    pub(crate) computed: usize,
    /// Of the tokens, how many more get theirs in this step.
    pub(crate) planned: usize,
    pub(crate) blocks: Vec<u32>,
    /// Replies that it stands for: more than 1 until it is forked.
    pub(crate) replies: usize,
    pub(crate) adapters: Option<u64>,
    /// Whether to look for blocks that others left.
    pub(crate) looks_up: bool,
    /// Whether others may find its blocks.
    pub(crate) shows: bool,
    /// Tokens that were found when it was begun first.
    pub(crate) cached_tokens: Option<usize>,
    root: BlockHash,
    /// Of the full blocks, as far as they were needed.
    hashes: Vec<BlockHash>,
}

impl Sequence {
    pub(crate) fn new(request: u64, priority: i32, prompt: Vec<i64>, root: BlockHash) -> Self {
        Self {
            request,
            choice: 0,
            priority,
            tokens: prompt,
            computed: 0,
            planned: 0,
            blocks: Vec::new(),
            replies: 1,
            adapters: None,
            looks_up: true,
            shows: true,
            cached_tokens: None,
            root,
            hashes: Vec::new(),
        }
    }

    /// The order in which sequences are begun; the last gives way first.
    pub(crate) fn rank(&self) -> (i32, u64, usize) {
        (self.priority, self.request, self.choice)
    }

    /// Tokens without keys and values. Never 0 between two steps: the last token's are
    /// computed when the next is asked for.
    pub(crate) fn missing(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Whether this step reads its last token, so that the next can be chosen.
    pub(crate) fn is_read(&self) -> bool {
        self.planned > 0 && self.computed + self.planned == self.tokens.len()
    }

    /// Hashes of the first `count` blocks, all of them full.
    pub(crate) fn block_hashes(&mut self, count: usize) -> &[BlockHash] {
        while self.hashes.len() < count {
            let start = self.hashes.len() * BLOCK_SIZE;
            let parent = self.hashes.last().copied().unwrap_or(self.root);
            self.hashes.push(parent.then(&self.tokens[start..start + BLOCK_SIZE]));
        }
        &self.hashes[..count]
    }
}
