//! The last replies, kept in memory so that feedback can name one by its id and need not
//! bring it along. Bounded by number and by bytes; the oldest go first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Most bytes of text that are kept.
const MAX_BYTES: usize = 64 << 20;

/// One choice of a reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) reasoning: Option<String>,
    pub(crate) text: String,
}

/// A reply and what it answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RecentReply {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) adapters: Vec<(String, f64)>,
    /// A completion's text, or a chat's messages.
    pub(crate) prompt: Value,
    pub(crate) choices: Vec<Reply>,
}

impl RecentReply {
    fn bytes(&self) -> usize {
        let reply =
            |reply: &Reply| reply.text.len() + reply.reasoning.as_ref().map_or(0, String::len);
        let choices: usize = self.choices.iter().map(reply).sum();
        size(&self.prompt) + choices + 256
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 8,
        Value::Object(object) => object.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 8,
    }
}

/// The last replies, oldest first.
#[derive(Debug)]
pub(crate) struct RecentReplies {
    capacity: usize,
    kept: Mutex<(VecDeque<RecentReply>, usize)>,
}

impl RecentReplies {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, kept: Mutex::default() }
    }

    pub(crate) fn remember(&self, reply: RecentReply) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (replies, bytes) = &mut *kept;
        *bytes += reply.bytes();
        replies.push_back(reply);
        while replies.len() > self.capacity || *bytes > MAX_BYTES {
            let Some(oldest) = replies.pop_front() else { break };
            *bytes -= oldest.bytes();
        }
    }

    pub(crate) fn find(&self, id: &str) -> Option<RecentReply> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.iter().rev().find(|reply| reply.id == id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(id: &str, length: usize) -> RecentReply {
        let text = "x".repeat(length);
        let choices = vec![Reply { reasoning: None, text }];
        let (model, adapters) = (String::new(), Vec::new());
        RecentReply { id: id.to_owned(), model, adapters, prompt: Value::Null, choices }
    }

    #[test]
    fn the_oldest_make_room() {
        let recent = RecentReplies::new(2);
        for id in ["a", "b", "c"] {
            recent.remember(reply(id, 1));
        }
        assert!(recent.find("a").is_none());
        assert_eq!(recent.find("b"), Some(reply("b", 1)));
        recent.remember(reply("large", MAX_BYTES - 400));
        assert!(recent.find("c").is_none() && recent.find("large").is_some());
        recent.remember(reply("larger", MAX_BYTES));
        assert!(recent.find("larger").is_none(), "what never fits is not kept");
        recent.remember(reply("d", 1));
        assert!(recent.find("d").is_some());
    }
}
