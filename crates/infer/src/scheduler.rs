//! What each step computes, and which blocks it is put into.
//!
//! There is no phase of prompts and no phase of replies: a sequence has tokens, some of them
//! computed, and each step brings some sequences nearer to having all computed, within one
//! budget of tokens (vLLM's V1 scheduler). Sequences that have begun come first, unless one of
//! another priority waits that comes before them: then they also give it their place. When
//! blocks run out, the last gives its blocks back and begins again later, with the tokens that
//! it has.

use limbeck_model::paged::BLOCK_SIZE;

use crate::blocks::{BlockPool, blocks_for};
use crate::request::Stats;
use crate::sequence::Sequence;

/// Limits of a scheduler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most replies that hold blocks at a time.
    pub(crate) max_running: usize,
    /// Most tokens computed in a step.
    pub(crate) max_step_tokens: usize,
    /// Whether blocks are looked for by what they hold.
    pub(crate) prefix_cache: bool,
}

/// Slots to be copied before a step: a block that several refer to is never written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) filled: usize,
}

/// All sequences and the blocks that they hold.
#[derive(Debug)]
pub(crate) struct Scheduler {
    limits: Limits,
    pool: BlockPool,
    /// By [`Sequence::rank`].
    running: Vec<Sequence>,
    /// By [`Sequence::rank`]; without blocks.
    waiting: Vec<Sequence>,
    prefix_queries: u64,
    prefix_hits: u64,
    preemptions: u64,
}

impl Scheduler {
    pub(crate) fn new(num_blocks: usize, limits: Limits) -> Self {
        Self {
            limits,
            pool: BlockPool::new(num_blocks),
            running: Vec::new(),
            waiting: Vec::new(),
            prefix_queries: 0,
            prefix_hits: 0,
            preemptions: 0,
        }
    }

    /// Takes a sequence in. It must fit into the pool, and its replies into `max_running`.
    pub(crate) fn add(&mut self, sequence: Sequence) {
        insert(&mut self.waiting, sequence);
    }

    pub(crate) fn num_blocks(&self) -> usize {
        self.pool.num_blocks()
    }

    pub(crate) fn running(&self) -> &[Sequence] {
        &self.running
    }

    /// Requests that are known, with the key of their adapters; a request once for each
    /// reply.
    pub(crate) fn adapters(&self) -> impl Iterator<Item = (u64, u64)> {
        let all = self.running.iter().chain(&self.waiting);
        all.filter_map(|sequence| sequence.adapters.map(|key| (sequence.request, key)))
    }

    /// Others no longer find what these adapters' sequences compute: their content is not what
    /// it was when they began.
    pub(crate) fn hide(&mut self, adapters: u64) {
        for sequence in self.running.iter_mut().chain(&mut self.waiting) {
            if sequence.adapters == Some(adapters) {
                (sequence.shows, sequence.looks_up) = (false, false);
            }
        }
    }

    /// The blocks of running sequences, by how much of them is filled.
    pub(crate) fn used_slots(&self) -> usize {
        let mut filled = std::collections::HashMap::new();
        for sequence in &self.running {
            for (index, &block) in sequence.blocks.iter().enumerate() {
                let slots = sequence.computed.saturating_sub(index * BLOCK_SIZE).min(BLOCK_SIZE);
                let most = filled.entry(block).or_insert(0);
                *most = slots.max(*most);
            }
        }
        filled.values().sum()
    }

    pub(crate) fn add_stats(&self, stats: &mut Stats) {
        let replies = |all: &[Sequence]| all.iter().map(|sequence| sequence.replies).sum();
        stats.running = replies(&self.running);
        stats.waiting = replies(&self.waiting);
        stats.free_blocks = self.pool.num_free();
        stats.total_blocks = self.pool.num_blocks();
        stats.cached_blocks = self.pool.num_cached();
        stats.used_slots = self.used_slots();
        stats.prefix_queries = self.prefix_queries;
        stats.prefix_hits = self.prefix_hits;
        stats.preemptions = self.preemptions;
    }

    /// Plans a step: sets what each running sequence computes and gives it the blocks for
    /// that. The copies come before the step, in their order.
    pub(crate) fn plan(&mut self) -> Vec<Copy> {
        for sequence in &mut self.running {
            sequence.planned = 0;
        }
        let mut copies = Vec::new();
        let mut budget = self.limits.max_step_tokens;
        self.begin_urgent(&mut budget);
        let preempted = self.plan_running(&mut budget, &mut copies);
        if !preempted {
            self.begin_waiting(&mut budget, None);
        }
        copies
    }

    /// Begins waiting sequences of a priority before that of some running one, which gives way
    /// where there is no room for both.
    fn begin_urgent(&mut self, budget: &mut usize) {
        let last = |running: &[Sequence]| running.last().map(|sequence| sequence.priority);
        while let (Some(last), Some(first)) = (last(&self.running), self.waiting.first())
            && first.priority < last
        {
            if self.has_room(first) {
                self.begin_waiting(budget, Some(last));
                return;
            }
            if let Some(last) = self.running.pop() {
                self.put_back(last);
            }
        }
    }

    /// Whether a sequence can surely begin beside those that run.
    fn has_room(&self, sequence: &Sequence) -> bool {
        let replies: usize = self.running.iter().map(|sequence| sequence.replies).sum();
        let needed = blocks_for(sequence.tokens.len().min(self.limits.max_step_tokens));
        replies + sequence.replies <= self.limits.max_running
            && self.pool.num_free() >= needed + self.running.len()
    }

    /// Whether blocks ran out.
    fn plan_running(&mut self, budget: &mut usize, copies: &mut Vec<Copy>) -> bool {
        let mut preempted = false;
        let mut index = 0;
        while index < self.running.len() && *budget > 0 {
            if self.running[index].planned > 0 {
                index += 1;
                continue;
            }
            let wanted = self.running[index].missing().min(*budget);
            if self.reserve(index, wanted, copies) {
                self.running[index].planned = wanted;
                *budget -= wanted;
                index += 1;
            } else if let Some(last) = self.running.pop() {
                // Those before `index` rank before it, so that nothing planned is undone.
                self.put_back(last);
                preempted = true;
            }
        }
        preempted
    }

    /// Gives a sequence the blocks for `wanted` more tokens; false if there are too few.
    fn reserve(&mut self, index: usize, wanted: usize, copies: &mut Vec<Copy>) -> bool {
        let sequence = &mut self.running[index];
        let filled = sequence.computed % BLOCK_SIZE;
        let tail = sequence.computed / BLOCK_SIZE;
        let shared = (filled > 0)
            .then(|| sequence.blocks[tail])
            .filter(|&block| self.pool.references(block) > 1);
        let needed = blocks_for(sequence.computed + wanted).saturating_sub(sequence.blocks.len());
        if self.pool.num_free() < needed + usize::from(shared.is_some()) {
            return false;
        }
        if let Some(from) = shared
            && let Some(to) = self.pool.allocate()
        {
            self.pool.release(&[from]);
            sequence.blocks[tail] = to;
            copies.push(Copy { from, to, filled });
        }
        sequence.blocks.extend((0..needed).map_while(|_| self.pool.allocate()));
        true
    }

    /// A sequence gives back its blocks and waits for its turn.
    fn put_back(&mut self, mut sequence: Sequence) {
        self.pool.release(&sequence.blocks);
        sequence.blocks.clear();
        (sequence.computed, sequence.planned) = (0, 0);
        self.preemptions += 1;
        insert(&mut self.waiting, sequence);
    }

    /// Begins waiting sequences, those of a priority before `limit` if there is one.
    fn begin_waiting(&mut self, budget: &mut usize, limit: Option<i32>) {
        let mut replies: usize = self.running.iter().map(|sequence| sequence.replies).sum();
        let begins = |first: &Sequence| limit.is_none_or(|limit| first.priority < limit);
        while *budget > 0 && self.waiting.first().is_some_and(begins) {
            replies += self.waiting[0].replies;
            if replies > self.limits.max_running {
                return;
            }
            let found = self.find_blocks();
            let computed = found.len() * BLOCK_SIZE;
            let wanted = (self.waiting[0].tokens.len() - computed).min(*budget);
            let needed = blocks_for(computed + wanted) - found.len();
            let free = found.iter().filter(|&&block| self.pool.references(block) == 0).count();
            // A block for each of those that run: who begins only to give way soon has
            // computed for nothing.
            if self.pool.num_free() < needed + free + self.running.len() {
                return;
            }
            let mut sequence = self.waiting.remove(0);
            if self.limits.prefix_cache && sequence.looks_up {
                self.prefix_queries += sequence.tokens.len() as u64;
                self.prefix_hits += computed as u64;
            }
            for &block in &found {
                self.pool.share(block);
            }
            sequence.blocks = found;
            sequence.blocks.extend((0..needed).map_while(|_| self.pool.allocate()));
            (sequence.computed, sequence.planned) = (computed, wanted);
            sequence.cached_tokens.get_or_insert(computed);
            *budget -= wanted;
            insert(&mut self.running, sequence);
        }
    }

    /// Blocks that hold the beginning of the next waiting sequence. Its last token is always
    /// computed, as its logits are needed.
    fn find_blocks(&mut self) -> Vec<u32> {
        let sequence = &mut self.waiting[0];
        if !self.limits.prefix_cache || !sequence.looks_up {
            return Vec::new();
        }
        let full = (sequence.tokens.len() - 1) / BLOCK_SIZE;
        let hashes = sequence.block_hashes(full);
        hashes.iter().map_while(|&hash| self.pool.lookup(hash)).collect()
    }

    /// The step has been computed: counts its tokens and lets others find full blocks.
    pub(crate) fn commit(&mut self) {
        for sequence in &mut self.running {
            let before = sequence.computed / BLOCK_SIZE;
            sequence.computed += std::mem::take(&mut sequence.planned);
            let full = sequence.computed / BLOCK_SIZE;
            if self.limits.prefix_cache && sequence.shows && full > before {
                let hashes = sequence.block_hashes(full)[before..].to_vec();
                for (&block, hash) in sequence.blocks[before..full].iter().zip(hashes) {
                    self.pool.register(block, hash);
                }
            }
        }
    }

    /// Makes of a sequence that stands for several replies one for each; all share its blocks.
    pub(crate) fn fork(&mut self, request: u64) {
        let Ok(place) = self.place(request, 0) else { return };
        let replies = std::mem::replace(&mut self.running[place].replies, 1);
        for choice in 1..replies {
            let mut fork = self.running[place].clone();
            fork.choice = choice;
            for &block in &fork.blocks {
                self.pool.share(block);
            }
            insert(&mut self.running, fork);
        }
    }

    /// A running reply goes on with a token.
    pub(crate) fn push(&mut self, request: u64, choice: usize, token: i64) {
        if let Ok(place) = self.place(request, choice) {
            self.running[place].tokens.push(token);
        }
    }

    /// Takes a reply out, or all of a request, wherever they are.
    pub(crate) fn remove(&mut self, request: u64, choice: Option<usize>) {
        let matches = |sequence: &Sequence| {
            sequence.request == request && choice.is_none_or(|choice| choice == sequence.choice)
        };
        for sequence in self.running.iter().filter(|sequence| matches(sequence)) {
            self.pool.release(&sequence.blocks);
        }
        self.running.retain(|sequence| !matches(sequence));
        self.waiting.retain(|sequence| !matches(sequence));
    }

    /// Blocks are referred to as often as tables say, and by running sequences alone.
    #[cfg(test)]
    pub(crate) fn assert_books(&self) {
        let mut references = vec![0; self.pool.num_blocks()];
        for sequence in &self.running {
            assert!(sequence.blocks.len() >= blocks_for(sequence.computed), "{sequence:?}");
            assert!(sequence.computed <= sequence.tokens.len(), "{sequence:?}");
            for &block in &sequence.blocks {
                references[block as usize] += 1;
            }
        }
        for (block, expected) in references.iter().enumerate() {
            assert_eq!(self.pool.references(block as u32), *expected, "block {block}");
        }
        let free = references.iter().filter(|&&count| count == 0).count();
        assert_eq!(self.pool.num_free(), free);
        assert!(self.waiting.iter().all(|sequence| sequence.blocks.is_empty()));
        assert!(self.running.is_sorted_by_key(Sequence::rank));
        assert!(self.waiting.is_sorted_by_key(Sequence::rank));
        let replies: usize = self.running.iter().map(|sequence| sequence.replies).sum();
        assert!(replies <= self.limits.max_running);
    }

    fn place(&self, request: u64, choice: usize) -> Result<usize, ()> {
        self.running
            .iter()
            .position(|sequence| sequence.request == request && sequence.choice == choice)
            .ok_or(())
    }
}

/// Puts a sequence where it ranks.
fn insert(sequences: &mut Vec<Sequence>, sequence: Sequence) {
    let place = sequences.partition_point(|other| other.rank() < sequence.rank());
    sequences.insert(place, sequence);
}

#[cfg(test)]
mod tests;
