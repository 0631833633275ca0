//! Server-sent events: chunks of JSON as they come, comments while nothing does, `[DONE]`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use http_body::Frame;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::error::ApiError;

/// Events on their way to a slow reader. What is further behind waits with the engine's
/// events, whose number the request bounds.
const CHANNEL: usize = 16;

/// How long a reader may take to make room for a stream's end.
const END_TIME: Duration = Duration::from_secs(30);

/// The client has left.
#[derive(Debug)]
pub(super) struct Gone;

/// Where a stream's chunks go.
#[derive(Debug, Clone)]
pub(super) struct EventSender {
    sender: mpsc::Sender<Bytes>,
    done: Arc<AtomicBool>,
}

impl EventSender {
    /// Sends a chunk; waits for a slow reader.
    pub(super) async fn send(&self, chunk: &Value) -> Result<(), Gone> {
        self.sender.send(event(chunk)).await.map_err(|_| Gone)
    }

    /// Ends the stream, with an error if there was one.
    async fn end(&self, error: Option<ApiError>) {
        let send = async {
            if let Some(error) = error {
                self.sender.send(event(&error.body())).await?;
            }
            self.sender.send(Bytes::from_static(b"data: [DONE]\n\n")).await
        };
        // Whoever is gone, or has not read for as long, needs no end.
        if let Ok(Ok(())) = timeout(END_TIME, send).await {
            self.done.store(true, Ordering::Release);
        }
    }
}

fn event(chunk: &Value) -> Bytes {
    Bytes::from(format!("data: {chunk}\n\n"))
}

/// A response whose events `work` sends. `work` is dropped as soon as the client leaves.
pub(super) fn respond<F>(keep_alive: Duration, work: impl FnOnce(EventSender) -> F) -> Response
where
    F: Future<Output = Result<(), ApiError>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(CHANNEL);
    let events = EventSender { sender, done: Arc::new(AtomicBool::new(false)) };
    let body = EventBody {
        receiver,
        done: Arc::clone(&events.done),
        keep_alive,
        quiet: Box::pin(sleep(keep_alive)),
        ended: false,
    };
    let work = work(events.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = events.sender.closed() => {}
            result = work => events.end(result.err()).await,
        }
    });
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A proxy that gathered the events would take the streaming away.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The events as a body.
#[derive(Debug)]
struct EventBody {
    receiver: mpsc::Receiver<Bytes>,
    done: Arc<AtomicBool>,
    keep_alive: Duration,
    quiet: Pin<Box<Sleep>>,
    ended: bool,
}

impl http_body::Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let data = match this.receiver.poll_recv(context) {
            Poll::Ready(Some(data)) => data,
            Poll::Ready(None) if this.done.load(Ordering::Acquire) => return Poll::Ready(None),
            Poll::Ready(None) => {
                // The work ended without an end: it panicked.
                this.ended = true;
                event(&ApiError::internal("the server failed on this request").body())
            }
            Poll::Pending => {
                if this.quiet.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                Bytes::from_static(b": keep-alive\n\n")
            }
        };
        this.quiet.as_mut().reset(Instant::now() + this.keep_alive);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}
