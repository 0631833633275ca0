//! The texts of a task: a field of the row by its name, or a Jinja template over its fields, as
//! lm-eval reads `doc_to_text`.

use std::collections::HashSet;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Jinja, ValueKind};
use minijinja::{Environment, State, UndefinedBehavior};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::{Map, Value};

/// Templates compiled as they are used, all with Python's string and list methods.
#[derive(Debug)]
pub(super) struct Templates {
    environment: Environment<'static>,
    /// The fields that some row has: a text that is one of these is no text of its own.
    fields: HashSet<String>,
}

impl Templates {
    /// Templates over rows with these fields; a row may lack some of them.
    pub(super) fn new<'r>(fields: impl IntoIterator<Item = &'r String>) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(
            SyntaxConfig::builder().keep_trailing_newline(true).build().unwrap_or_default(),
        );
        environment.set_unknown_method_callback(pythons_method);
        environment.add_filter("regex_replace", regex_replace);
        Self { environment, fields: fields.into_iter().cloned().collect() }
    }

    /// The value of `text` for a row: the field of that name, or the template filled in.
    pub(super) fn value(&self, text: &str, row: &Map<String, Value>) -> Result<Value, String> {
        match row.get(text) {
            Some(Value::Null) => Err(format!("field `{text}` is null")),
            Some(value) => Ok(value.clone()),
            None if self.fields.contains(text) => Err(format!("field `{text}` is missing")),
            None => self.render(text, row).map(Value::String),
        }
    }

    /// The same as text: numbers as they are written.
    pub(super) fn text(&self, text: &str, row: &Map<String, Value>) -> Result<String, String> {
        Ok(match self.value(text, row)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    /// A list: the field of that name, or the value of a single expression.
    pub(super) fn list(&self, text: &str, row: &Map<String, Value>) -> Result<Vec<String>, String> {
        let value = if let Some(value) = row.get(text) {
            value.clone()
        } else {
            let inner = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
            let inner = inner.filter(|inner| !inner.contains("{{"));
            let inner = inner.ok_or_else(|| {
                format!("`{text}` is neither a field nor a single {{{{ expression }}}}")
            })?;
            let value = self
                .environment
                .compile_expression(inner)
                .and_then(|expression| expression.eval(Jinja::from(Serde(row))))
                .map_err(|error| explain(&error))?;
            serde_json::to_value(value).map_err(|error| error.to_string())?
        };
        let Value::Array(items) = value else {
            return Err(format!("`{text}` is {value}, and no list"));
        };
        let as_text = |item| match item {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(items.into_iter().map(as_text).collect())
    }

    fn render(&self, text: &str, row: &Map<String, Value>) -> Result<String, String> {
        if !text.contains(['{', '}']) {
            return Ok(text.to_owned());
        }
        self.environment.render_str(text, Jinja::from(Serde(row))).map_err(|error| explain(&error))
    }
}

/// Python's methods of strings, lists and dictionaries, and `list.index`, by which tasks find the
/// choice that a letter stands for.
fn pythons_method(
    state: &mut State<'_, '_>,
    value: &Jinja,
    method: &str,
    arguments: &[Jinja],
) -> Result<Jinja, minijinja::Error> {
    if let (ValueKind::Seq, "index", [wanted]) = (value.kind(), method, arguments) {
        let found = value.try_iter()?.position(|item| item == *wanted);
        return found.map(Jinja::from).ok_or_else(|| {
            let detail = format!("{wanted} is not in the list {value}");
            minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, detail)
        });
    }
    unknown_method_callback(state, value, method, arguments)
}

/// Python's `re.sub`, which lm-eval's templates may use as a filter.
fn regex_replace(text: &str, pattern: &str, with: &str) -> Result<String, minijinja::Error> {
    let pattern = fancy_regex::Regex::new(pattern).map_err(|error| {
        minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, error.to_string())
    })?;
    Ok(pattern.replace_all(text, with).into_owned())
}

fn explain(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.to_string(), |detail| format!("{}: {detail}", error.kind()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row() -> Map<String, Value> {
        let row = json!({
            "question": "2 + 3?", "answer": "2 + 3 = 5\n#### 5", "label": 1,
            "choices": { "text": ["four", "five"], "label": ["A", "B"] }, "key": "B", "none": null,
        });
        let Value::Object(row) = row else { unreachable!() };
        row
    }

    #[test]
    fn fields_templates_and_pythons_methods() {
        let row = row();
        let templates = Templates::new(row.keys());
        assert_eq!(templates.value("label", &row).unwrap(), json!(1));
        let text = |template: &str| templates.text(template, &row).unwrap();
        assert_eq!(text("Question: {{question}}\nAnswer:\n"), "Question: 2 + 3?\nAnswer:\n");
        assert_eq!(text("{{answer.split('####')[-1].strip()}}"), "5");
        assert_eq!(text("{{choices.label.index(key)}}"), "1");
        assert_eq!(text("{{answer if answer is defined else target}}"), text("answer"));
        assert_eq!(text("{{answer|regex_replace('[0-9] . ', '')}}"), "5\n#### 5");
        assert_eq!(text("No field"), "No field");
        assert_eq!(templates.list("{{choices.text}}", &row).unwrap(), ["four", "five"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let row = row();
        let templates = Templates::new(&["elsewhere".to_owned()]);
        for template in
            ["{{nothing}}", "none", "elsewhere", "{{answer.missing.deep}}", "{{ unclosed"]
        {
            assert!(templates.text(template, &row).is_err(), "{template}");
        }
        assert!(templates.list("question", &row).unwrap_err().contains("no list"));
        assert!(templates.list("plain", &row).is_err());
    }
}
