//! Replies of a form: JSON of a schema, or text of a regular expression, by llguidance.
//!
//! The form is compiled over the bytes of the vocabulary's tokens, so that a token that spells
//! several of its parts, or half a character, is allowed where its bytes are.

use std::fmt;
use std::sync::Arc;

use limbeck_core::{TokenBytes, Tokenizer};
use limbeck_run::{Diagnose, Exit};
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::constraint::{Constraint, ConstraintFactory, TokenMask};
use crate::{Error, Result};

/// A form that is no form, or a reply that left it.
#[derive(Debug, thiserror::Error)]
pub enum GrammarError {
    /// The schema or expression cannot be compiled.
    #[error("{what}: {reason}")]
    Form {
        /// What was given.
        what: &'static str,
        /// The compiler's words.
        reason: String,
    },
    /// Matching failed, by a limit of the matcher's.
    #[error("the reply cannot be matched against its form: {0}")]
    Match(String),
    /// The tokenizer names no token that ends a reply.
    #[error("the tokenizer names no token that ends a reply, which a form must")]
    NoEnd,
}

impl Diagnose for GrammarError {
    fn exit(&self) -> Exit {
        match self {
            Self::Form { .. } => Exit::BadInput,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Form { .. } => {
                "JSON Schema as llguidance supports it, or a regular expression without look-around"
            }
            Self::Match(_) => "simplify the schema, or bound its repetitions",
            Self::NoEnd => "set eos_token in tokenizer_config.json",
        };
        Some(hint.to_owned())
    }
}

/// Compiles forms for one vocabulary. Clones share it.
#[derive(Clone)]
pub struct GrammarCompiler {
    factory: Arc<ParserFactory>,
    vocab_size: usize,
    ends: Vec<i64>,
    /// The token after which a form applies, where a reply thinks first.
    after: Option<i64>,
}

impl fmt::Debug for GrammarCompiler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GrammarCompiler")
            .field("vocab_size", &self.vocab_size)
            .field("ends", &self.ends)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl GrammarCompiler {
    /// For a model with `vocab_size` logits. Takes about a second for 262,144 tokens.
    ///
    /// # Errors
    /// A tokenizer without a token that ends replies.
    pub fn new(tokenizer: &Tokenizer, vocab_size: i64) -> std::result::Result<Self, GrammarError> {
        let ends = tokenizer.eos_token_ids().to_vec();
        let end = ends.first().and_then(|&end| u32::try_from(end).ok());
        let end = end.ok_or(GrammarError::NoEnd)?;
        let words: Vec<Vec<u8>> = tokenizer
            .token_bytes(vocab_size)
            .into_iter()
            .map(|token| match token {
                TokenBytes::Text(bytes) => bytes,
                // A byte that no text has marks what is no text.
                TokenBytes::Special(name) => {
                    [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat()
                }
                TokenBytes::Unused => Vec::new(),
            })
            .collect();
        let info = TokRxInfo::new(vocab_size as u32, end);
        let trie = TokTrie::from(&info, &words);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let factory = ParserFactory::new_simple(&environment);
        let mut factory = factory.map_err(|error| form("vocabulary", &error))?;
        factory.quiet();
        Ok(Self { factory: Arc::new(factory), vocab_size: vocab_size as usize, ends, after: None })
    }

    /// Forms apply to what follows this token, such as `</think>`; before it anything goes.
    #[must_use]
    pub fn after(&self, token: Option<i64>) -> Self {
        Self { after: token, ..self.clone() }
    }

    /// Replies that are JSON of a schema (<https://json-schema.org>, as far as llguidance goes),
    /// with a space after `,` and `:` and none elsewhere: a model that may write spaces can go
    /// on with them for ever. A schema may say otherwise under `x-guidance`.
    ///
    /// # Errors
    /// [`GrammarError::Form`].
    pub fn json_schema(&self, schema: &Value) -> std::result::Result<Grammar, GrammarError> {
        let mut schema = schema.clone();
        if schema == Value::Bool(true) {
            schema = json!({});
        }
        if let Some(object) = schema.as_object_mut() {
            object.entry("x-guidance").or_insert_with(|| {
                json!({ "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " })
            });
        }
        self.compile("JSON schema", TopLevelGrammar::from_json_schema(schema))
    }

    /// Replies that a regular expression matches from beginning to end.
    ///
    /// # Errors
    /// [`GrammarError::Form`].
    pub fn regex(&self, expression: &str) -> std::result::Result<Grammar, GrammarError> {
        self.compile("regular expression", TopLevelGrammar::from_regex(expression))
    }

    fn compile(
        &self,
        what: &'static str,
        grammar: TopLevelGrammar,
    ) -> std::result::Result<Grammar, GrammarError> {
        let fresh = Matcher::new(self.factory.create_parser(grammar));
        match fresh.get_error() {
            Some(reason) => Err(GrammarError::Form { what, reason }),
            None => Ok(Grammar { compiler: self.clone(), fresh }),
        }
    }
}

fn form(what: &'static str, error: &anyhow::Error) -> GrammarError {
    GrammarError::Form { what, reason: format!("{error:#}") }
}

/// A form that replies must have.
pub struct Grammar {
    compiler: GrammarCompiler,
    fresh: Matcher,
}

impl fmt::Debug for Grammar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Grammar").field("compiler", &self.compiler).finish_non_exhaustive()
    }
}

impl ConstraintFactory for Grammar {
    fn start(&self) -> Result<Box<dyn Constraint>> {
        Ok(Box::new(Matching {
            matcher: self.fresh.deep_clone(),
            vocab_size: self.compiler.vocab_size,
            ends: self.compiler.ends.clone(),
            after: self.compiler.after,
        }))
    }
}

/// Requests may share a form.
impl ConstraintFactory for Arc<Grammar> {
    fn start(&self) -> Result<Box<dyn Constraint>> {
        Grammar::start(self)
    }
}

/// How far one reply is.
struct Matching {
    matcher: Matcher,
    vocab_size: usize,
    ends: Vec<i64>,
    after: Option<i64>,
}

impl fmt::Debug for Matching {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Matching").field("after", &self.after).finish_non_exhaustive()
    }
}

impl Constraint for Matching {
    fn allowed(&mut self) -> Result<TokenMask> {
        if self.after.is_some() {
            let mut mask = TokenMask::all(self.vocab_size);
            // A reply that ended while it thinks would not have its form.
            self.ends.iter().for_each(|&end| mask.forbid(end));
            return Ok(mask);
        }
        let allowed = self.matcher.compute_mask_or_eos().map_err(|error| failed(&error))?;
        let mut mask = TokenMask::none(self.vocab_size);
        allowed.iter_set_entries(|token| mask.allow(token as i64));
        if self.ends.first().is_some_and(|&end| mask.allows(end)) {
            self.ends.iter().for_each(|&end| mask.allow(end));
        }
        Ok(mask)
    }

    fn accept(&mut self, token: i64) -> Result<()> {
        match self.after {
            Some(after) if after == token => self.after = None,
            Some(_) => {}
            None => {
                // One that is no token of the vocabulary was not allowed.
                let token = u32::try_from(token).unwrap_or(u32::MAX);
                self.matcher.consume_token(token).map_err(|error| failed(&error))?;
            }
        }
        Ok(())
    }
}

fn failed(error: &anyhow::Error) -> Error {
    Error::constraint(GrammarError::Match(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use limbeck_core::seed::CounterRng;

    fn tokenizer(folder: &str) -> Tokenizer {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
        Tokenizer::load(&fixtures.join(folder)).unwrap()
    }

    /// A reply of allowed tokens at random, up to its end.
    fn reply(tokenizer: &Tokenizer, grammar: &Grammar, seed: u64) -> Option<String> {
        let mut constraint = grammar.start().unwrap();
        let mut rng = CounterRng::new(seed);
        let mut tokens = Vec::new();
        for _ in 0..400 {
            let mask = constraint.allowed().unwrap();
            let allowed: Vec<i64> =
                (0..mask.vocab_size() as i64).filter(|&token| mask.allows(token)).collect();
            assert!(!allowed.is_empty(), "after {tokens:?}");
            if let Some(end) = allowed.iter().find(|&token| grammar.compiler.ends.contains(token)) {
                assert!(tokenizer.eos_token_ids().contains(end));
                return Some(tokenizer.decode(&tokens, true).unwrap());
            }
            let token = allowed[rng.below(allowed.len())];
            constraint.accept(token).unwrap();
            tokens.push(token);
        }
        None
    }

    #[test]
    fn whatever_is_drawn_has_the_form() {
        let schema = json!({
            "type": "object",
            "properties": {
                "steps": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
                "answer": {"enum": ["yes", "no"]},
            },
            "required": ["steps", "answer"],
            "additionalProperties": false,
        });
        for folder in ["teacher", "parity/gemma3", "parity/llama3"] {
            let tokenizer = tokenizer(folder);
            let compiler = GrammarCompiler::new(&tokenizer, tokenizer.vocab_size()).unwrap();
            let grammar = compiler.json_schema(&schema).unwrap();
            let mut ended = 0;
            for seed in 0..10 {
                let Some(text) = reply(&tokenizer, &grammar, seed) else { continue };
                ended += 1;
                let value: Value = serde_json::from_str(&text).unwrap();
                assert!(value["steps"].as_array().unwrap().iter().all(Value::is_i64), "{text}");
                assert!(value["answer"] == "yes" || value["answer"] == "no", "{text}");
                assert!(!text.contains("  ") && !text.contains('\n'), "{text}");
            }
            assert!(ended > 0, "{folder}");
            let grammar = compiler.regex("answer: [0-9]{2,4}\\.").unwrap();
            let text = reply(&tokenizer, &grammar, 1).unwrap();
            let digits = text.strip_prefix("answer: ").and_then(|text| text.strip_suffix('.'));
            assert!(digits.is_some_and(|digits| (2..=4).contains(&digits.len())), "{text}");
        }
    }

    #[test]
    fn thoughts_are_free() {
        let tokenizer = tokenizer("teacher");
        let close = tokenizer.token_id("</think>").unwrap();
        let compiler = GrammarCompiler::new(&tokenizer, tokenizer.vocab_size()).unwrap();
        let grammar = compiler.after(Some(close)).regex("[0-9]").unwrap();
        let mut constraint = grammar.start().unwrap();
        let letter = tokenizer.encode("Q").unwrap()[0];
        let mask = constraint.allowed().unwrap();
        assert!(mask.allows(letter) && !mask.allows(tokenizer.eos_token_ids()[0]));
        constraint.accept(letter).unwrap();
        constraint.accept(close).unwrap();
        let mask = constraint.allowed().unwrap();
        assert!(!mask.allows(letter) && mask.allows(tokenizer.encode("7").unwrap()[0]));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let tokenizer = tokenizer("teacher");
        let compiler = GrammarCompiler::new(&tokenizer, tokenizer.vocab_size()).unwrap();
        for schema in [json!({"type": "number", "minimum": "x"}), json!({"type": "nothing"})] {
            let error = compiler.json_schema(&schema).unwrap_err();
            assert!(matches!(error, GrammarError::Form { .. }), "{error}");
        }
        assert!(compiler.regex("(").unwrap_err().to_string().contains("regular expression"));
    }
}
