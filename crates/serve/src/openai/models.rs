//! `GET /v1/models` and `GET /v1/models/NAME`: the base model and the adapters.

use serde_json::{Value, json};

use crate::app::App;

use super::error::{ApiError, ApiResult};

/// All models.
pub(crate) fn list(app: &App) -> Value {
    json!({ "object": "list", "data": all(app) })
}

/// One model.
pub(crate) fn one(app: &App, name: &str) -> ApiResult<Value> {
    let found = all(app).into_iter().find(|model| model["id"] == name);
    found.ok_or_else(|| ApiError::unknown_model(name))
}

fn all(app: &App) -> Vec<Value> {
    let model = |id: &str, parent: Option<&str>| {
        json!({
            "id": id,
            "object": "model",
            "created": app.model.created,
            "owned_by": "limbeck",
            "root": id,
            "parent": parent,
            "max_model_len": app.model.max_model_len,
        })
    };
    let adapters = app.adapters.list().into_iter().map(|adapter| {
        let mut shown = model(&adapter.name, Some(&app.model.name));
        shown["tier"] = json!(adapter.tier);
        shown["hash"] = json!(adapter.hash);
        shown
    });
    std::iter::once(model(&app.model.name, None)).chain(adapters).collect()
}
