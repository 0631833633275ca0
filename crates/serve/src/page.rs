//! The page to chat with at `/`: one file with its style and script inside, which asks
//! nobody but this server.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::openai::error::ApiError;

const HTML: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// The page, or that there is none.
#[derive(Debug)]
pub(crate) struct Page {
    html: String,
    /// Lets in nothing but the style and the script above, by their hashes.
    policy: Option<HeaderValue>,
}

impl Page {
    pub(crate) fn new(shown: bool) -> Self {
        let html = HTML.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT);
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE)
        );
        Self { html, policy: HeaderValue::from_str(&policy).ok().filter(|_| shown) }
    }

    pub(crate) fn response(&self) -> Response {
        let Some(policy) = &self.policy else {
            return ApiError::not_found("this server shows no page").into_response();
        };
        let mut response = Response::new(Body::from(self.html.clone()));
        *response.status_mut() = StatusCode::OK;
        let fixed: [(HeaderName, &str); 4] = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        let headers = response.headers_mut();
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
        response
    }
}
