//! The page: one file of HTML, escaped by the template engine.

use minijinja::value::Serde;
use minijinja::{Environment, Value};

use super::Report;
use super::view::View;
use crate::Result;

/// The ending turns on escaping of every value.
const NAME: &str = "page.html";

/// Renders a report as HTML.
///
/// # Errors
/// A template that does not fit its values, which is a defect of this crate.
pub(super) fn render(report: &Report) -> Result<String> {
    let mut environment = Environment::new();
    environment.add_template(NAME, include_str!("page.html"))?;
    let view = View::new(report);
    Ok(environment.get_template(NAME)?.render(Value::from(Serde(&view)))?)
}
