//! What a client hears when a request is not answered, in OpenAI's shape:
//! `{"error": {"message", "type", "param", "code"}}`.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use limbeck_infer::Error as EngineError;
use serde_json::{Value, json};

/// Most characters of a message: some repeat what the client sent.
const MAX_MESSAGE: usize = 600;

/// An error for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    kind: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after_seconds: Option<u64>,
}

/// The result type of handlers.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(end);
            message.push('…');
        }
        Self { status, message, kind, param: None, code: None, retry_after_seconds: None }
    }

    /// 400: the request says something impossible.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// 400 about one parameter.
    pub fn parameter(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::invalid(message) }
    }

    /// 400 about something that this server does not do.
    pub fn unsupported(param: &str, what: &str) -> Self {
        Self {
            code: Some("unsupported_parameter"),
            ..Self::parameter(param, format!("{what} is not supported yet"))
        }
    }

    /// 400: prompt and reply do not fit into the model's context.
    pub fn too_long(param: &str, message: impl Into<String>) -> Self {
        Self { code: Some("context_length_exceeded"), ..Self::parameter(param, message) }
    }

    /// 401: no key, or not one of ours.
    pub fn unauthorized() -> Self {
        Self {
            code: Some("invalid_api_key"),
            ..Self::new(
                StatusCode::UNAUTHORIZED,
                "authentication_error",
                "a valid key is needed: send it as Authorization: Bearer KEY",
            )
        }
    }

    /// 403: not allowed here.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", message)
    }

    /// 404: no model or adapter of this name.
    pub fn unknown_model(model: &str) -> Self {
        let shown: String = model.chars().take(200).collect();
        Self {
            code: Some("model_not_found"),
            param: Some("model".to_owned()),
            ..Self::not_found(format!("the model `{shown}` does not exist"))
        }
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let message = "this path does not take this method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
    }

    /// 408: the body did not come in time.
    pub fn slow_body() -> Self {
        let message = "the request's body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", message)
    }

    /// 409: something else is in the way.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "invalid_request_error", message)
    }

    /// 413: the body is larger than allowed.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            format!("the request's body is larger than {limit} bytes"),
        )
    }

    /// 415: the body is not JSON.
    pub fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request_error",
            "send JSON with the header Content-Type: application/json",
        )
    }

    /// 429: too many requests, by one client or in all.
    pub fn too_many(message: impl Into<String>, retry_after_seconds: u64) -> Self {
        Self {
            code: Some("rate_limit_exceeded"),
            retry_after_seconds: Some(retry_after_seconds.max(1)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
        }
    }

    /// 500: a fault of the server; what it was is in the log.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// 503: the server is stopping, or its engine has stopped.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            retry_after_seconds: Some(5),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
        }
    }

    /// 504: not answered in the time that the server gives a request.
    pub fn timeout(seconds: u64) -> Self {
        let message = format!("the request was not done in {seconds} seconds");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "server_error", message)
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What is told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The body.
    pub fn body(&self) -> Value {
        json!({
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        })
    }
}

impl From<&EngineError> for ApiError {
    fn from(error: &EngineError) -> Self {
        match error {
            EngineError::TooLong { .. } | EngineError::OverBudget { .. } => {
                Self::too_long("prompt", error.to_string())
            }
            EngineError::Empty { .. } | EngineError::TokenOutOfRange { .. } => {
                Self::parameter("prompt", error.to_string())
            }
            EngineError::Setting(invalid) => {
                Self::parameter(invalid.field.clone(), error.to_string())
            }
            // Others are the server's own; their text may name its files.
            _ => Self::internal("the engine failed on this request"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
