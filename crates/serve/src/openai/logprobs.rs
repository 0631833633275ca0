//! Log-probabilities in the two forms that OpenAI has for them.

use limbeck_core::Tokenizer;
use serde_json::{Map, Value, json};

use limbeck_infer::TokenLogprobs;

/// JSON has no infinity; a token that cannot come gets what vLLM writes for it.
const LOWEST: f32 = -9999.0;

/// The text that a token adds after another. Some decoders drop a space at the beginning of
/// a text, so a token alone does not show what it adds.
fn text_of(tokenizer: &Tokenizer, previous: Option<i64>, token: i64) -> String {
    let decode = |tokens: &[i64]| tokenizer.decode(tokens, false).unwrap_or_default();
    if let Some(previous) = previous {
        let (before, both) = (decode(&[previous]), decode(&[previous, token]));
        // Where both are parts of one character, the first alone shows as another.
        if let Some(added) = both.strip_prefix(before.as_str()) {
            return added.to_owned();
        }
    }
    decode(&[token])
}

fn number(logprob: f32) -> Value {
    // Widened once, here: equal floats stay equal, which lm-eval relies on.
    json!(f64::from(logprob.max(LOWEST)))
}

/// The lists that a completion has: an entry a token.
#[derive(Debug)]
pub(super) struct CompletionLogprobs<'t> {
    tokenizer: &'t Tokenizer,
    previous: Option<i64>,
    /// Characters of text before the next token.
    offset: usize,
    lists: Lists,
}

#[derive(Debug, Default)]
struct Lists {
    tokens: Vec<String>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<usize>,
}

impl<'t> CompletionLogprobs<'t> {
    /// No token yet; `previous` is the one before the first, if there is one.
    pub(super) fn new(tokenizer: &'t Tokenizer, previous: Option<i64>) -> Self {
        Self { tokenizer, previous, offset: 0, lists: Lists::default() }
    }

    /// One more token; `None` where nothing is known of it, as of a prompt's first.
    pub(super) fn push(&mut self, token: i64, known: Option<&TokenLogprobs>) {
        let text = text_of(self.tokenizer, self.previous, token);
        let lists = &mut self.lists;
        lists.text_offset.push(self.offset);
        self.offset += text.chars().count();
        let Some(known) = known else {
            lists.tokens.push(text);
            lists.token_logprobs.push(Value::Null);
            lists.top_logprobs.push(Value::Null);
            self.previous = Some(token);
            return;
        };
        let mut top: Vec<(String, f32)> = Vec::with_capacity(known.top.len() + 1);
        let others = known.top.iter().filter(|(id, _)| *id != token);
        let chosen = (text.clone(), known.logprob);
        let others =
            others.map(|(id, logprob)| (text_of(self.tokenizer, self.previous, *id), *logprob));
        for (text, logprob) in std::iter::once(chosen).chain(others) {
            // Tokens that are parts of characters may look alike. The likelier one counts:
            // else the chosen token could pass for the likeliest.
            match top.iter_mut().find(|(known, _)| *known == text) {
                Some((_, highest)) => *highest = highest.max(logprob),
                None => top.push((text, logprob)),
            }
        }
        let top: Map<String, Value> =
            top.into_iter().map(|(text, logprob)| (text, number(logprob))).collect();
        lists.tokens.push(text);
        lists.token_logprobs.push(number(known.logprob));
        lists.top_logprobs.push(Value::Object(top));
        self.previous = Some(token);
    }

    /// What was pushed since this was last called.
    pub(super) fn take(&mut self) -> Value {
        let lists = std::mem::take(&mut self.lists);
        json!({
            "tokens": lists.tokens,
            "token_logprobs": lists.token_logprobs,
            "top_logprobs": lists.top_logprobs,
            "text_offset": lists.text_offset,
        })
    }
}

/// The list that a chat has: an entry a token with its bytes and its rivals.
#[derive(Debug)]
pub(super) struct ChatLogprobs<'t> {
    tokenizer: &'t Tokenizer,
    previous: Option<i64>,
    /// How many rivals to show.
    top: usize,
    content: Vec<Value>,
}

impl<'t> ChatLogprobs<'t> {
    /// No token yet.
    pub(super) fn new(tokenizer: &'t Tokenizer, previous: Option<i64>, top: usize) -> Self {
        Self { tokenizer, previous, top, content: Vec::new() }
    }

    /// One more token.
    pub(super) fn push(&mut self, known: &TokenLogprobs) {
        let entry = |token: i64, logprob: f32| {
            let text = text_of(self.tokenizer, self.previous, token);
            // The bytes of a part of a character are not known here, only that it is one.
            let whole = !text.contains('\u{FFFD}');
            let bytes = whole.then(|| text.bytes().collect::<Vec<u8>>());
            json!({ "token": text, "logprob": number(logprob), "bytes": bytes })
        };
        let top: Vec<Value> =
            known.top.iter().take(self.top).map(|(id, logprob)| entry(*id, *logprob)).collect();
        let mut chosen = entry(known.token, known.logprob);
        chosen["top_logprobs"] = Value::Array(top);
        self.content.push(chosen);
        self.previous = Some(known.token);
    }

    /// What was pushed since this was last called.
    pub(super) fn take(&mut self) -> Value {
        json!({ "content": std::mem::take(&mut self.content), "refusal": null })
    }
}
