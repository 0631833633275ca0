//! Bodies of bounded size that arrive in bounded time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::config::LimitsConfig;
use crate::openai::error::{ApiError, ApiResult};

/// What is read and thrown away of a body that is too large, so that the client, which may
/// read only after it has written, hears why.
const DRAINED_BYTES: usize = 32 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Reads a JSON body.
///
/// # Errors
/// 415 for another type, 413 for one that is too large, 408 for one that is too slow, 400 for
/// one that breaks off.
pub(crate) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    limits: &LimitsConfig,
) -> ApiResult<Bytes> {
    // A page of another site can send text to this machine without asking, JSON it cannot.
    let json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| {
            let kind = kind.trim().to_ascii_lowercase();
            kind == "application/json"
                || (kind.starts_with("application/") && kind.ends_with("+json"))
        });
    if !json {
        return Err(ApiError::not_json());
    }
    let reading = read(body, limits.max_body_bytes);
    timeout(limits.body_timeout(), reading).await.unwrap_or_else(|_| Err(ApiError::slow_body()))
}

async fn read(mut body: Body, max_bytes: usize) -> ApiResult<Bytes> {
    let announced = body.size_hint().lower();
    if announced > max_bytes as u64 {
        // One that is too large to be drained need not be waited for either.
        if announced <= DRAINED_BYTES as u64 {
            let _ = timeout(DRAIN_TIME, drain(&mut body)).await;
        }
        return Err(ApiError::too_large(max_bytes));
    }
    let mut read = Vec::new();
    while let Some(data) = next(&mut body).await? {
        if read.len() + data.len() > max_bytes {
            // Whether all of it could be drained changes nothing.
            let _ = timeout(DRAIN_TIME, drain(&mut body)).await;
            return Err(ApiError::too_large(max_bytes));
        }
        read.extend_from_slice(&data);
    }
    Ok(Bytes::from(read))
}

async fn next(body: &mut Body) -> ApiResult<Option<Bytes>> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(_)) => return Err(ApiError::invalid("the request's body broke off")),
            Some(Ok(frame)) => {
                // Trailers say nothing that is needed.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn drain(body: &mut Body) {
    let mut drained = 0;
    while let Ok(Some(data)) = next(body).await {
        drained += data.len();
        if drained > DRAINED_BYTES {
            return;
        }
    }
}
