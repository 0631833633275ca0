//! `GET /health`: whether the process is well. `GET /ready`: whether it takes requests.

use serde_json::{Value, json};

use crate::app::App;
use crate::openai::error::{ApiError, ApiResult};
use crate::worker::Health;

/// 200 while the engine lives or is being made.
pub(crate) fn health(app: &App) -> ApiResult<Value> {
    match app.engine.health() {
        Health::Starting | Health::Ready => Ok(json!({ "status": "ok" })),
        // Why is in the log: it may name files.
        Health::Ended | Health::Failed(_) => Err(ApiError::unavailable("the engine has stopped")),
    }
}

/// 200 while requests are taken.
pub(crate) fn ready(app: &App) -> ApiResult<Value> {
    if app.shutdown.has_begun() {
        return Err(ApiError::unavailable("the server is stopping"));
    }
    match app.engine.health() {
        Health::Ready => Ok(json!({ "status": "ready" })),
        Health::Starting => Err(ApiError::unavailable("the engine is being made")),
        Health::Ended | Health::Failed(_) => Err(ApiError::unavailable("the engine has stopped")),
    }
}
