//! Chat templates for base models, whose folders have none.
//!
//! They keep the format of the family's instruction-tuned models, but never take reasoning
//! out of a conversation: what is trained on is what was written. A turn's end must stop a
//! generation, and base models do not know it as a stop token: it is added to
//! `generation_config.json`.

use std::path::Path;

use serde_json::{Value, json};

use crate::checkpoint::read_json;
use crate::tokenizer_training;
use crate::{Error, Result, Tokenizer};

/// A chat template by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    /// The name.
    pub name: &'static str,
    /// The Jinja program.
    pub source: &'static str,
    /// The token that begins a turn.
    pub start_of_turn: &'static str,
    /// The token that ends a turn, and a generation.
    pub end_of_turn: &'static str,
}

/// All of them: Gemma's turns, and Qwen's `ChatML`.
pub const BUILT_IN: [BuiltIn; 2] = [
    BuiltIn {
        name: "gemma",
        source: include_str!("chat_templates/gemma.jinja"),
        start_of_turn: "<start_of_turn>",
        end_of_turn: "<end_of_turn>",
    },
    BuiltIn {
        name: "chatml",
        source: tokenizer_training::CHAT_TEMPLATE,
        start_of_turn: tokenizer_training::START_OF_TURN,
        end_of_turn: tokenizer_training::END_OF_TURN,
    },
];

impl BuiltIn {
    /// The template of a name.
    pub fn named(name: &str) -> Option<Self> {
        BUILT_IN.into_iter().find(|template| template.name == name)
    }

    /// Gives the model folder this template, in place of one that it has, and makes the end
    /// of a turn a stop token.
    ///
    /// # Errors
    /// [`Error::Template`] where the vocabulary lacks the marks of a turn; read and write
    /// errors.
    pub fn install(&self, folder: &Path) -> Result<()> {
        let tokenizer = Tokenizer::load(folder)?;
        for mark in [self.start_of_turn, self.end_of_turn] {
            if tokenizer.token_id(mark).is_none() {
                return Err(Error::Template {
                    path: folder.to_owned(),
                    message: format!(
                        "`{}` needs the token {mark}, which the vocabulary lacks",
                        self.name
                    ),
                });
            }
        }
        let mut stops = tokenizer.eos_token_ids().to_vec();
        stops.extend(tokenizer.token_id(self.end_of_turn).filter(|end| !stops.contains(end)));
        let path = folder.join("generation_config.json");
        let mut generation = if path.exists() { read_json(&path)? } else { json!({}) };
        let Value::Object(keys) = &mut generation else {
            return Err(Error::Json {
                path,
                expected: "an object".to_owned(),
                found: generation.to_string(),
            });
        };
        keys.insert("eos_token_id".to_owned(), json!(stops));
        limbeck_run::write_file(&path, format!("{generation:#}\n").as_bytes())?;
        write(folder, self.source)
    }
}

/// Gives the model folder a template of one's own; stop tokens stay as they are.
///
/// # Errors
/// [`Error::Template`] where it does not compile; write errors.
pub fn install_text(folder: &Path, source: &str, from: &Path) -> Result<()> {
    let _ = crate::ChatTemplate::new(source, crate::chat::TemplateTokens::default(), from)?;
    write(folder, source)
}

fn write(folder: &Path, source: &str) -> Result<()> {
    Ok(limbeck_run::write_file(&folder.join("chat_template.jinja"), source.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;
    use crate::tokenizer_training::{TokenizerConfig, train};

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let config = TokenizerConfig { vocab_size: 280, ..TokenizerConfig::default() };
        train(["2 + 3 = 5 and so on"].into_iter(), &config, folder.path()).unwrap();
        folder
    }

    #[test]
    fn a_template_comes_with_its_stop_token() {
        let folder = folder();
        let path = folder.path().join("generation_config.json");
        std::fs::write(&path, r#"{"eos_token_id": 0, "top_k": 5}"#).unwrap();
        let config = folder.path().join("tokenizer_config.json");
        let mut keys = read_json(&config).unwrap();
        let end = Tokenizer::load(folder.path()).unwrap().token_id("<|im_end|>").unwrap();
        keys.as_object_mut().unwrap().remove("chat_template");
        keys.as_object_mut().unwrap().remove("eos_token");
        std::fs::write(&config, keys.to_string()).unwrap();
        assert!(Tokenizer::load(folder.path()).unwrap().chat_template().is_none());
        BuiltIn::named("chatml").unwrap().install(folder.path()).unwrap();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        assert_eq!(tokenizer.eos_token_ids(), [0, end]);
        assert_eq!(read_json(&path).unwrap()["top_k"], 5);
        let text = tokenizer.require_chat_template().unwrap();
        let text = text.render(&[Message::user("Q")], true, None).unwrap();
        assert_eq!(text, "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n");
    }

    #[test]
    fn a_vocabulary_without_the_marks_is_refused() {
        let folder = folder();
        let before = std::fs::read(folder.path().join("generation_config.json")).ok();
        let error = BuiltIn::named("gemma").unwrap().install(folder.path()).unwrap_err();
        assert!(error.to_string().contains("<start_of_turn>"), "{error}");
        assert!(!folder.path().join("chat_template.jinja").exists());
        assert_eq!(std::fs::read(folder.path().join("generation_config.json")).ok(), before);
        let path = Path::new("mine.jinja");
        let error = install_text(folder.path(), "{% if %}", path).unwrap_err().to_string();
        assert!(error.contains("mine.jinja"), "{error}");
        assert!(!folder.path().join("chat_template.jinja").exists());
    }

    #[test]
    fn gemmas_turns_are_rendered_losslessly() {
        let source = BuiltIn::named("gemma").unwrap().source;
        let tokens =
            crate::chat::TemplateTokens { bos: "<bos>".to_owned(), eos: "<eos>".to_owned() };
        let template = crate::ChatTemplate::new(source, tokens, Path::new("gemma.jinja")).unwrap();
        let system = Message { role: "system".to_owned(), ..Message::user("S") };
        let turns = [
            system,
            Message::user("Q"),
            Message::assistant("<think>\nR\n</think>\n\nA"),
            Message::user("P"),
        ];
        let whole = template.render(&turns[..3], false, None).unwrap();
        let expected = "<bos><start_of_turn>user\nS\n\nQ<end_of_turn>\n<start_of_turn>model\n\
                        <think>\nR\n</think>\n\nA<end_of_turn>\n";
        assert_eq!(whole, expected);
        let prompt = template.render(&turns[..2], true, None).unwrap();
        assert!(whole.starts_with(&prompt), "{prompt}");
        let closed = template.render(&turns[..2], true, Some(false)).unwrap();
        assert_eq!(closed, format!("{prompt}<think>\n\n</think>\n\n"));
        let more = template.render(&turns, false, None).unwrap();
        assert_eq!(more, format!("{expected}<start_of_turn>user\nP<end_of_turn>\n"));
    }
}
