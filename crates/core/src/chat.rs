//! Chat templates: the Jinja programs that turn a conversation into the text a model
//! was trained on. Rendered with the settings of transformers' `apply_chat_template`
//! (blocks trimmed, Python's string methods, `raise_exception`).

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, ErrorKind, context};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
    /// The chain of thought, for templates that take it apart from the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
}

impl Message {
    /// Instructions for the whole conversation.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: "system".to_owned(), content: content.into(), reasoning_content: None }
    }

    /// A user's turn.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".to_owned(), content: content.into(), reasoning_content: None }
    }

    /// An assistant's turn.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: "assistant".to_owned(), content: content.into(), reasoning_content: None }
    }
}

/// The special tokens that templates may name.
#[derive(Debug, Clone, Default)]
pub struct TemplateTokens {
    /// `bos_token`, empty if the tokenizer has none.
    pub bos: String,
    /// `eos_token`, empty if the tokenizer has none.
    pub eos: String,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    tokens: TemplateTokens,
    path: PathBuf,
}

const NAME: &str = "chat_template";

impl ChatTemplate {
    /// Compiles a template; `path` is the file it came from, for errors.
    ///
    /// # Errors
    /// [`Error::Template`] with the line that does not parse.
    pub fn new(source: &str, tokens: TemplateTokens, path: &Path) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| template_error(path, &error))?);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| {
            Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| template_error(path, &error))?;
        Ok(Self { environment, source: source.to_owned(), tokens, path: path.to_owned() })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation. `enable_thinking` reaches the template only if set, as in
    /// transformers, where an absent variable and `true` may differ.
    ///
    /// # Errors
    /// [`Error::Template`], also when the template itself raises an exception.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        enable_thinking: Option<bool>,
    ) -> Result<String> {
        let mut variables = serde_json::Map::new();
        if let Some(enable_thinking) = enable_thinking {
            variables.insert("enable_thinking".to_owned(), enable_thinking.into());
        }
        self.render_with(messages, add_generation_prompt, &variables)
    }

    /// As [`Self::render`], with any variables, as `chat_template_kwargs` in a request gives
    /// them. None takes the place of the conversation or of the special tokens.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_with(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        variables: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<String> {
        let context = context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt,
            bos_token => self.tokens.bos.as_str(),
            eos_token => self.tokens.eos.as_str(),
            ..Value::from(Serde(variables))
        };
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(context))
            .map_err(|error| template_error(&self.path, &error))
    }
}

fn template_error(path: &Path, error: &minijinja::Error) -> Error {
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    Error::Template { path: path.to_owned(), message: format!("{error}{line}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> Result<ChatTemplate> {
        let tokens = TemplateTokens { bos: "<s>".to_owned(), eos: "</s>".to_owned() };
        ChatTemplate::new(source, tokens, Path::new("tokenizer_config.json"))
    }

    #[test]
    fn python_methods_and_special_tokens_work() {
        let source = "{{ bos_token }}{%- for m in messages %}\n  {{ m.content.split('</think>')[-1].strip() }}{{ eos_token }}\n{%- endfor %}\n{%- if add_generation_prompt %}>{% endif %}";
        let messages = [Message::assistant("<think>a</think>\n\nb ")];
        let text = template(source).unwrap().render(&messages, true, None).unwrap();
        assert_eq!(text, "<s>  b</s>>");
    }

    #[test]
    fn enable_thinking_is_absent_unless_set() {
        let template = template(
            "{% if enable_thinking is defined %}{{ enable_thinking }}{% else %}-{% endif %}",
        )
        .unwrap();
        assert_eq!(template.render(&[], false, None).unwrap(), "-");
        assert_eq!(template.render(&[], false, Some(false)).unwrap(), "False");
    }

    #[test]
    fn variables_reach_the_template_but_replace_nothing() {
        let template = template("{{ bos_token }}{{ depth }}{{ messages|length }}").unwrap();
        let variables = serde_json::json!({ "depth": 3, "bos_token": "x", "messages": [1, 2] });
        let text = template.render_with(&[], false, variables.as_object().unwrap()).unwrap();
        assert_eq!(text, "<s>30");
    }

    #[test]
    fn a_broken_or_raising_template_is_an_error_with_its_file() {
        let error = template("{% if %}").unwrap_err().to_string();
        assert!(error.contains("tokenizer_config.json") && error.contains("line 1"), "{error}");
        let raising = template("{{ raise_exception('roles must alternate') }}").unwrap();
        let error = raising.render(&[], false, None).unwrap_err().to_string();
        assert!(error.contains("roles must alternate"), "{error}");
    }
}
