//! Pages: one file of HTML each, escaped by the template engine, with style and script inside.

use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::Serialize;

use crate::Result;

/// The templates by name. The ending `.html` turns on escaping of every value.
const TEMPLATES: &[(&str, &str)] = &[
    ("layout.html", include_str!("templates/layout.html")),
    ("macros.html", include_str!("templates/macros.html")),
    ("headline.html", include_str!("templates/headline.html")),
    ("links.html", include_str!("templates/links.html")),
    ("report.html", include_str!("templates/report.html")),
    ("models.html", include_str!("templates/models.html")),
    ("tasks.html", include_str!("templates/tasks.html")),
    ("verdicts.html", include_str!("templates/verdicts.html")),
    ("comparisons.html", include_str!("templates/comparisons.html")),
    ("forgetting.html", include_str!("templates/forgetting.html")),
    ("families.html", include_str!("templates/families.html")),
    ("chains.html", include_str!("templates/chains.html")),
    ("attention.html", include_str!("templates/attention.html")),
    ("ablation.html", include_str!("templates/ablation.html")),
    ("training.html", include_str!("templates/training.html")),
    ("cost.html", include_str!("templates/cost.html")),
    ("samples.html", include_str!("templates/samples.html")),
    ("runs.html", include_str!("templates/runs.html")),
    ("history.html", include_str!("templates/history.html")),
    ("provenance.html", include_str!("templates/provenance.html")),
];

/// Renders a template with a view.
///
/// The page's policy allows it to fetch nothing and to run its own script alone: that one bears
/// a mark drawn from the view, which text of a model cannot hold, as it would change it.
///
/// # Errors
/// A template that does not fit its values, which is a defect of this crate.
pub(crate) fn render(template: &str, view: &impl Serialize) -> Result<String> {
    let mut environment = Environment::new();
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    let text = serde_json::to_string(view).unwrap_or_default();
    let nonce = limbeck_run::sha256_bytes(text.as_bytes())[..24].to_owned();
    let values = context! {
        view => Value::from(Serde(view)),
        nonce,
        style => Value::from_safe_string(include_str!("templates/style.css").to_owned()),
        script => Value::from_safe_string(include_str!("templates/script.js").to_owned()),
    };
    Ok(environment.get_template(template)?.render(values)?)
}
