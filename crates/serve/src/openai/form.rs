//! Replies in a given form: `response_format` of OpenAI, `structured_outputs` and the older
//! `guided_…` of vLLM.

use std::sync::{Arc, OnceLock};

use limbeck_infer::{Grammar, GrammarCompiler, GrammarError};
use serde_json::{Value, json};

use crate::model_info::ModelInfo;

use super::error::{ApiError, ApiResult};
use super::fields::{Fields, wrong};

/// The mark at the end of a chain of thought.
const CLOSE: &str = "</think>";
/// A form is compiled for each request that asks for it.
const MAX_FORM_BYTES: usize = 256 << 10;

/// What replies must look like.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Form {
    /// The parameter that asked for it.
    param: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Schema(Value),
    Regex(String),
}

impl Form {
    /// Takes the form out of a body.
    ///
    /// # Errors
    /// What is no form, two of them, or one in a language that is not known here.
    pub(super) fn take(fields: &mut Fields) -> ApiResult<Option<Self>> {
        let mut forms = Vec::new();
        if let Some(format) = fields.take("response_format") {
            forms.extend(Self::of_response_format(format)?);
        }
        if let Some(outputs) = fields.take("structured_outputs") {
            let mut outputs = Fields::of(outputs, "structured_outputs")?;
            for name in ["json", "json_object", "regex", "choice", "grammar", "structural_tag"] {
                let param = outputs.name(name);
                if let Some(value) = outputs.take(name) {
                    forms.extend(Self::of(&param, name, value)?);
                }
            }
            outputs.finish();
        }
        for name in ["json", "json_object", "regex", "choice", "grammar"] {
            let param = format!("guided_{name}");
            if let Some(value) = fields.take(&param) {
                forms.extend(Self::of(&param, name, value)?);
            }
        }
        let form = forms.pop();
        match (&form, forms.is_empty()) {
            (Some(form), false) => {
                let message = format!("`{}` is a second form beside another", form.param);
                Err(ApiError::parameter(form.param.clone(), message))
            }
            _ => Ok(form),
        }
    }

    fn of_response_format(format: Value) -> ApiResult<Option<Self>> {
        let param = "response_format";
        let mut format = Fields::of(format, param)?;
        let kind = format.string("type")?;
        match kind.as_deref() {
            Some("text") => Ok(None),
            Some("json_object") => Self::of(param, "json_object", Value::Bool(true)),
            Some("json_schema") => {
                let given = format.require("json_schema")?;
                let mut given = Fields::of(given, "response_format.json_schema")?;
                let schema = given.require("schema")?;
                Self::of("response_format.json_schema.schema", "json", schema)
            }
            _ => {
                let message =
                    "`response_format.type` is expected to be text, json_object or json_schema";
                Err(ApiError::parameter(param, message))
            }
        }
    }

    fn of(param: &str, name: &str, value: Value) -> ApiResult<Option<Self>> {
        let kind = match (name, value) {
            ("json_object", Value::Bool(asked)) => {
                if !asked {
                    return Ok(None);
                }
                Kind::Schema(json!({ "type": "object" }))
            }
            ("json", Value::String(text)) => Kind::Schema(
                serde_json::from_str(&text)
                    .map_err(|error| ApiError::parameter(param, format!("`{param}`: {error}")))?,
            ),
            ("json", schema @ (Value::Object(_) | Value::Bool(_))) => Kind::Schema(schema),
            ("regex", Value::String(expression)) => Kind::Regex(expression),
            ("choice", Value::Array(choices))
                if !choices.is_empty() && choices.iter().all(Value::is_string) =>
            {
                let choices = choices.iter().filter_map(Value::as_str).map(escaped);
                Kind::Regex(choices.collect::<Vec<_>>().join("|"))
            }
            ("grammar" | "structural_tag", _) => {
                return Err(ApiError::unsupported(param, "a reply by a grammar"));
            }
            (name, other) => {
                let expected = match name {
                    "json" => "a JSON schema",
                    "regex" => "a regular expression",
                    "choice" => "a list of texts",
                    _ => "true or false",
                };
                return Err(wrong(param, expected, &other));
            }
        };
        let bytes = match &kind {
            Kind::Schema(schema) => schema.to_string().len(),
            Kind::Regex(expression) => expression.len(),
        };
        if bytes > MAX_FORM_BYTES {
            let message = format!("`{param}` has {bytes} bytes, {MAX_FORM_BYTES} are allowed");
            return Err(ApiError::parameter(param, message));
        }
        Ok(Some(Self { param: param.to_owned(), kind }))
    }
}

/// A text as an expression that matches it alone.
fn escaped(text: &str) -> String {
    let mut expression = String::new();
    for letter in text.chars() {
        if letter.is_ascii_punctuation() {
            expression.push('\\');
        }
        expression.push(letter);
    }
    format!("({expression})")
}

/// Compiles forms for the model's tokens. The vocabulary is prepared at the first.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    compiler: OnceLock<Result<GrammarCompiler, String>>,
}

impl Forms {
    /// The constraint of a form. After a chain of thought, where the reply begins with one.
    ///
    /// # Errors
    /// A form that cannot be compiled.
    pub(super) fn compile(
        &self,
        form: &Form,
        model: &ModelInfo,
        thinks: bool,
    ) -> ApiResult<Arc<Grammar>> {
        let compiler = self.compiler.get_or_init(|| {
            GrammarCompiler::new(&model.tokenizer, model.vocab_size)
                .map_err(|error| error.to_string())
        });
        let compiler = compiler.as_ref().map_err(|reason| {
            ApiError::parameter(form.param.clone(), format!("`{}`: {reason}", form.param))
        })?;
        let after = if thinks { model.tokenizer.token_id(CLOSE) } else { None };
        let compiler = compiler.after(after);
        let grammar = match &form.kind {
            Kind::Schema(schema) => compiler.json_schema(schema),
            Kind::Regex(expression) => compiler.regex(expression),
        };
        grammar.map(Arc::new).map_err(|error| {
            let reason = match &error {
                GrammarError::Form { reason, .. } => reason.clone(),
                other => other.to_string(),
            };
            let reason: String = reason.chars().take(400).collect();
            ApiError::parameter(form.param.clone(), format!("`{}`: {reason}", form.param))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(body: &str) -> ApiResult<Option<Form>> {
        Form::take(&mut Fields::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn forms_are_found_under_all_their_names() {
        for body in [
            r#"{"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "integer"}}}}"#,
            r#"{"structured_outputs": {"json": {"type": "integer"}}}"#,
            r#"{"guided_json": "{\"type\": \"integer\"}"}"#,
        ] {
            let form = take(body).unwrap().unwrap();
            assert_eq!(form.kind, Kind::Schema(json!({"type": "integer"})), "{body}");
        }
        let form = take(r#"{"guided_choice": ["yes", "1+1"]}"#).unwrap().unwrap();
        assert_eq!(form.kind, Kind::Regex(r"(yes)|(1\+1)".to_owned()));
        let form = take(r#"{"response_format": {"type": "json_object"}}"#).unwrap().unwrap();
        assert_eq!(form.kind, Kind::Schema(json!({"type": "object"})));
        for body in
            [r#"{"response_format": {"type": "text"}}"#, "{}", r#"{"guided_json_object": false}"#]
        {
            assert_eq!(take(body).unwrap(), None, "{body}");
        }
    }

    #[test]
    fn what_is_no_form_is_named() {
        for (body, param) in [
            (r#"{"response_format": {"type": "xml"}}"#, "response_format"),
            (r#"{"response_format": 3}"#, "response_format"),
            (r#"{"response_format": {"type": "json_schema"}}"#, "response_format.json_schema"),
            (r#"{"guided_json": 3}"#, "guided_json"),
            (r#"{"guided_json": "{"}"#, "guided_json"),
            (r#"{"guided_choice": []}"#, "guided_choice"),
            (r#"{"guided_grammar": "root ::= a"}"#, "guided_grammar"),
            (r#"{"guided_regex": "a", "guided_choice": ["b"]}"#, "guided_choice"),
        ] {
            let error = format!("{:?}", take(body).unwrap_err());
            assert!(error.contains(param), "{body}: {error}");
        }
    }
}
