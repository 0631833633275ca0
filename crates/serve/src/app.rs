//! The routes, and what stands around each of them: keys, rates, panics, times.

use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::time::timeout;

use crate::adapters::Adapters;
use crate::auth::{Access, Client};
use crate::config::ServeConfig;

use crate::feedback::{Feedback, FeedbackStore};
use crate::limits::read_json;
use crate::metrics::Metrics;
use crate::model_info::ModelInfo;
use crate::openai::error::{ApiError, ApiResult};
use crate::openai::form::Forms;
use crate::openai::{accepted, chat, completions, models};
use crate::page::Page;
use crate::recent::RecentReplies;
use crate::shutdown::Shutdown;
use crate::worker::{EngineHandle, EventStream, busy};
use crate::{health, tokens};

/// All that handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: ServeConfig,
    pub(crate) model: ModelInfo,
    pub(crate) engine: EngineHandle,
    pub(crate) adapters: Adapters,
    pub(crate) feedback: Option<FeedbackStore>,
    pub(crate) recent: RecentReplies,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Access,
    pub(crate) shutdown: Shutdown,
    pub(crate) page: Page,
    pub(crate) forms: Forms,
}

/// The address at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// All routes.
pub(crate) fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route("/v1/completions", post(post_completions))
        .route("/v1/chat/completions", post(post_chat))
        .route(
            "/v1/models",
            get(async |State(app): State<Arc<App>>| json_response(&models::list(&app))),
        )
        .route("/v1/models/{*name}", get(get_model))
        .route("/v1/load_lora_adapter", post(post_load_adapter))
        .route("/v1/unload_lora_adapter", post(post_unload_adapter))
        .route("/v1/feedback", post(post_feedback))
        .route("/tokenize", post(post_tokenize))
        .route("/detokenize", post(post_detokenize))
        .route(
            "/tokenizer_info",
            get(async |State(app): State<Arc<App>>| json_response(&tokens::tokenizer_info(&app))),
        )
        .route("/metrics", get(get_metrics))
        .route("/health", get(async |State(app): State<Arc<App>>| answer(health::health(&app))))
        .route("/ready", get(async |State(app): State<Arc<App>>| answer(health::ready(&app))))
        .route("/", get(async |State(app): State<Arc<App>>| app.page.response()))
        .fallback(async || ApiError::not_found("there is no such path"))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(from_fn_with_state(Arc::clone(app), guard))
        .with_state(Arc::clone(app))
}

/// Paths that need no key: they tell nothing and cost nothing.
fn is_public(path: &str) -> bool {
    matches!(path, "/" | "/health" | "/ready")
}

/// Lets a request in, keeps its panic from the connection, and logs it.
async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let peer = request.extensions().get::<Peer>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    let (client, response) = match app.admit(&request, &method, peer, start) {
        Ok(client) => {
            let name = client.0.clone();
            request.extensions_mut().insert(client);
            let response = CatchPanic(Box::pin(next.run(request))).await;
            (
                name,
                response.unwrap_or_else(|()| {
                    tracing::error!(%path, "a handler panicked");
                    ApiError::internal("the server failed on this request").into_response()
                }),
            )
        }
        Err(error) => (peer.to_string(), error.into_response()),
    };
    let (status, millis) = (response.status().as_u16(), start.elapsed().as_millis() as u64);
    tracing::info!(%method, path = %shorten(&path), status, millis, %client, "request");
    response
}

/// Paths come from clients, so the log takes no more of one than it needs.
fn shorten(path: &str) -> String {
    path.chars().take(120).collect()
}

impl App {
    fn admit(
        &self,
        request: &Request,
        method: &Method,
        peer: IpAddr,
        now: Instant,
    ) -> ApiResult<Client> {
        let path = request.uri().path();
        if is_public(path) {
            return Ok(Client(peer.to_string()));
        }
        self.access.check_host(request.headers())?;
        let client = self.access.identify(request.headers(), peer)?;
        if self.shutdown.has_begun() {
            return Err(ApiError::unavailable("the server is stopping"));
        }
        // Looking is free, asking is not.
        if method == Method::POST {
            self.access.count(&client, now).inspect_err(|_| self.metrics.refused())?;
        }
        Ok(client)
    }

    /// Checks that a prompt and what is to be generated fit into the model.
    pub(crate) fn check_length(
        &self,
        param: &str,
        prompt: usize,
        generated: usize,
    ) -> ApiResult<()> {
        let limit = self.model.max_model_len;
        if prompt.saturating_add(generated) <= limit {
            return Ok(());
        }
        let message = format!(
            "the model takes {limit} tokens at most, this is {prompt} tokens of prompt and \
             {generated} to generate"
        );
        Err(ApiError::too_long(param, message))
    }

    /// Hands requests to the engine, all or none, and waits until it has taken them.
    pub(crate) async fn submit_all(
        &self,
        requests: Vec<limbeck_infer::Request>,
    ) -> ApiResult<Vec<EventStream>> {
        let room = self.engine.room(requests.len());
        let mut room = room.ok_or_else(busy).inspect_err(|_| self.metrics.refused())?;
        if self.config.log_prompts {
            for request in &requests {
                let text = self.model.tokenizer.decode(&request.prompt, false).unwrap_or_default();
                tracing::info!(prompt = %text, "prompt");
            }
        }
        let submit = |request| self.engine.submit(request, &mut room);
        let mut streams = requests.into_iter().map(submit).collect::<ApiResult<Vec<_>>>()?;
        self.within_limits(async {
            for stream in &mut streams {
                accepted(stream).await?;
            }
            ApiResult::Ok(())
        })
        .await??;
        Ok(streams)
    }

    /// Does work within the time that a request has, and until the server's stop cuts it off.
    pub(crate) async fn within_limits<T>(&self, work: impl Future<Output = T>) -> ApiResult<T> {
        let limit = self.config.limits.request_timeout();
        tokio::select! {
            done = timeout(limit, work) => done.map_err(|_| ApiError::timeout(limit.as_secs())),
            () = self.shutdown.cut_off() => Err(ApiError::unavailable("the server is stopping")),
        }
    }

    /// Reads a JSON body.
    async fn body(&self, request: Request) -> ApiResult<(Client, Bytes)> {
        let (parts, body) = request.into_parts();
        let body = read_json(&parts.headers, body, &self.config.limits).await?;
        let client = parts.extensions.get::<Client>().cloned();
        Ok((client.unwrap_or_else(|| Client("unknown".to_owned())), body))
    }
}

/// Runs what computes or waits for a disk where it holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> ApiResult<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        tracing::error!(%error, "a handler panicked");
        ApiError::internal("the server failed on this request")
    })
}

/// A body of JSON with status 200.
pub(crate) fn json_response(value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn answer(result: ApiResult<Value>) -> Response {
    result.map_or_else(ApiError::into_response, |value| json_response(&value))
}

async fn post_completions(State(app): State<Arc<App>>, request: Request) -> ApiResult<Response> {
    let (_, body) = app.body(request).await?;
    completions::completions(app, body).await
}

async fn post_chat(State(app): State<Arc<App>>, request: Request) -> ApiResult<Response> {
    let (_, body) = app.body(request).await?;
    chat::chat(app, body).await
}

async fn get_model(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    answer(models::one(&app, &name))
}

async fn post_load_adapter(State(app): State<Arc<App>>, request: Request) -> ApiResult<Response> {
    let (_, body) = app.body(request).await?;
    blocking(move || app.adapters.load(&body)).await?.map(|value| json_response(&value))
}

async fn post_unload_adapter(State(app): State<Arc<App>>, request: Request) -> ApiResult<Response> {
    let (_, body) = app.body(request).await?;
    blocking(move || app.adapters.unload(&body)).await?.map(|value| json_response(&value))
}

async fn post_feedback(State(app): State<Arc<App>>, request: Request) -> ApiResult<Response> {
    let (client, body) = app.body(request).await?;
    let keep = move || {
        let store = app.feedback.as_ref();
        let store = store.ok_or_else(|| ApiError::forbidden("this server keeps no feedback"))?;
        store.keep(&Feedback::parse(&body, &app.recent, &app.model.name)?, &client.0)
    };
    blocking(keep).await?.map(|value| json_response(&value))
}

async fn post_tokenize(State(app): State<Arc<App>>, request: Request) -> ApiResult<Response> {
    let (_, body) = app.body(request).await?;
    blocking(move || tokens::tokenize(&app, &body)).await?.map(|value| json_response(&value))
}

async fn post_detokenize(State(app): State<Arc<App>>, request: Request) -> ApiResult<Response> {
    let (_, body) = app.body(request).await?;
    blocking(move || tokens::detokenize(&app, &body)).await?.map(|value| json_response(&value))
}

async fn get_metrics(State(app): State<Arc<App>>) -> Response {
    let mut response = Response::new(Body::from(app.metrics.text()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A future whose panic is an error.
struct CatchPanic<F>(Pin<Box<F>>);

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, ()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // After a panic the future is dropped and never polled again.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let panicking = CatchPanic(Box::pin(async { panic!("as told") }));
        let outcome: Result<(), ()> = panicking.await;
        assert_eq!(outcome, Err(()));
        assert_eq!(CatchPanic(Box::pin(async { 3 })).await, Ok(3));
        let outcome: ApiResult<()> = blocking(|| panic!("as told")).await;
        assert_eq!(outcome.unwrap_err().status(), 500);
    }
}
