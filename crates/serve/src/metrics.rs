//! What `/metrics` tells Prometheus, under the names that vLLM gave these things, so that its
//! dashboards work.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use limbeck_infer::{BLOCK_SIZE, Stats};

/// Seconds, from a quick first token to a long wait.
const SHORT_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0,
];
const TOKEN_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
    5.0, 10.0,
];
const LONG_SECONDS: &[f64] = &[
    0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0,
    240.0, 480.0, 960.0,
];
const TOKENS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5];
const STEP_TOKENS: &[f64] =
    &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0];

/// Why a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A stop token or stop string.
    Stop,
    /// Its limit of tokens.
    Length,
    /// The client left, or the time was up.
    Abort,
    /// The engine failed on it.
    Error,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Stop, Self::Length, Self::Abort, Self::Error];

    fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
        }
    }
}

/// How long the parts of a request took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// From arrival until the engine took it.
    pub(crate) queue: Duration,
    /// From then to the first token.
    pub(crate) prefill: Option<Duration>,
    /// From the first token to the last.
    pub(crate) decode: Option<Duration>,
    /// From arrival to the end.
    pub(crate) total: Duration,
    pub(crate) prompt_tokens: usize,
    pub(crate) generated_tokens: usize,
}

/// All counts and histograms.
#[derive(Debug)]
pub struct Metrics {
    model: String,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    stats: Stats,
    outcomes: [u64; Outcome::ALL.len()],
    refused: u64,
    first_token: Histogram,
    inter_token: Histogram,
    total: Histogram,
    queue: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    prompt_tokens: Histogram,
    generation_tokens: Histogram,
    step_tokens: Histogram,
}

impl Metrics {
    /// Nothing counted yet, for a model of this name.
    pub fn new(model: &str) -> Self {
        let short = || Histogram::new(SHORT_SECONDS);
        let long = || Histogram::new(LONG_SECONDS);
        Self {
            model: model.to_owned(),
            inner: Mutex::new(Inner {
                stats: Stats::default(),
                outcomes: [0; Outcome::ALL.len()],
                refused: 0,
                first_token: short(),
                inter_token: Histogram::new(TOKEN_SECONDS),
                total: long(),
                queue: long(),
                inference: long(),
                prefill: long(),
                decode: long(),
                prompt_tokens: Histogram::new(TOKENS),
                generation_tokens: Histogram::new(TOKENS),
                step_tokens: Histogram::new(STEP_TOKENS),
            }),
        }
    }

    fn with(&self, change: impl FnOnce(&mut Inner)) {
        // Counts are never half changed, so a panic elsewhere leaves them good.
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The engine made a step.
    pub(crate) fn step(&self, stats: Stats) {
        self.with(|inner| {
            if stats.steps != inner.stats.steps && stats.last_step_tokens > 0 {
                inner.step_tokens.observe(stats.last_step_tokens as f64);
            }
            inner.stats = stats;
        });
    }

    /// How the engine stood after its last step.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.with(|inner| stats = inner.stats);
        stats
    }

    pub(crate) fn first_token(&self, since_arrival: Duration) {
        self.with(|inner| inner.first_token.observe(since_arrival.as_secs_f64()));
    }

    pub(crate) fn next_token(&self, since_last: Duration) {
        self.with(|inner| inner.inter_token.observe(since_last.as_secs_f64()));
    }

    /// A request was refused because of limits.
    pub(crate) fn refused(&self) {
        self.with(|inner| inner.refused += 1);
    }

    pub(crate) fn ended(&self, outcome: Outcome, timing: &Timing) {
        self.with(|inner| {
            inner.outcomes[outcome as usize] += 1;
            inner.queue.observe(timing.queue.as_secs_f64());
            inner.total.observe(timing.total.as_secs_f64());
            inner.inference.observe(timing.total.saturating_sub(timing.queue).as_secs_f64());
            if let Some(prefill) = timing.prefill {
                inner.prefill.observe(prefill.as_secs_f64());
            }
            if let Some(decode) = timing.decode {
                inner.decode.observe(decode.as_secs_f64());
            }
            inner.prompt_tokens.observe(timing.prompt_tokens as f64);
            inner.generation_tokens.observe(timing.generated_tokens as f64);
        });
    }

    /// Prometheus' text format, version 0.0.4.
    pub fn text(&self) -> String {
        let mut page = Page { labels: labels(&self.model), text: String::new() };
        self.with(|inner| inner.write(&mut page));
        page.text
    }
}

impl Inner {
    fn write(&self, page: &mut Page) {
        let stats = &self.stats;
        let held = stats.total_blocks.saturating_sub(stats.free_blocks);
        let usage =
            if stats.total_blocks == 0 { 0.0 } else { held as f64 / stats.total_blocks as f64 };
        page.gauge("num_requests_running", "Sequences that are computed.", stats.running as f64);
        page.gauge("num_requests_waiting", "Sequences that wait.", stats.waiting as f64);
        page.gauge("kv_cache_usage_perc", "Share of the cache's blocks in use, 0 to 1.", usage);
        let slots = held * BLOCK_SIZE;
        let unused =
            if slots == 0 { 0.0 } else { 1.0 - stats.used_slots.min(slots) as f64 / slots as f64 };
        page.gauge("kv_cache_unused_perc", "Share of those blocks' slots without a token.", unused);
        page.counter("prefix_cache_queries", "Prompt tokens looked up.", stats.prefix_queries);
        page.counter("prefix_cache_hits", "Prompt tokens found.", stats.prefix_hits);
        page.counter("num_preemptions", "Sequences put back to wait.", stats.preemptions);
        page.counter("prompt_tokens", "Prompt tokens processed.", stats.prompt_tokens);
        page.counter("generation_tokens", "Tokens generated.", stats.generated_tokens);
        page.counter("requests_refused", "Requests refused because of limits.", self.refused);
        page.head("request_success_total", "Requests that ended, by reason.", "counter");
        for outcome in Outcome::ALL {
            let label = format!(",finished_reason=\"{}\"", outcome.as_str());
            page.line("request_success_total", &label, self.outcomes[outcome as usize] as f64);
        }
        let histograms = [
            ("time_to_first_token_seconds", "From arrival to the first token.", &self.first_token),
            ("inter_token_latency_seconds", "Between tokens of a choice.", &self.inter_token),
            ("e2e_request_latency_seconds", "From arrival to the end.", &self.total),
            ("request_queue_time_seconds", "From arrival until the scheduler had it.", &self.queue),
            ("request_inference_time_seconds", "From the scheduler to the end.", &self.inference),
            (
                "request_prefill_time_seconds",
                "From the scheduler to the first token.",
                &self.prefill,
            ),
            ("request_decode_time_seconds", "From the first token to the last.", &self.decode),
            ("request_prompt_tokens", "Prompt tokens of a request.", &self.prompt_tokens),
            (
                "request_generation_tokens",
                "Tokens generated for a request.",
                &self.generation_tokens,
            ),
            ("iteration_tokens_total", "Tokens of an engine step.", &self.step_tokens),
        ];
        for (name, help, histogram) in histograms {
            page.histogram(name, help, histogram);
        }
    }
}

/// Counts of values up to each of several bounds.
#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    /// By the first bound that a value does not exceed; the last is for those beyond all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn observe(&mut self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place] += 1;
        self.sum += value;
    }
}

/// The text as it grows.
struct Page {
    labels: String,
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP vllm:{name} {help}\n# TYPE vllm:{name} {kind}");
    }

    fn line(&mut self, name: &str, extra: &str, value: f64) {
        let _ = writeln!(self.text, "vllm:{name}{{{}{extra}}} {value}", self.labels);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        self.line(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let name = format!("{name}_total");
        self.head(&name, help, "counter");
        self.line(&name, "", value as f64);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, help, "histogram");
        let mut total = 0;
        let bounds = histogram.bounds.iter().map(ToString::to_string);
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&histogram.counts) {
            total += count;
            self.line(&format!("{name}_bucket"), &format!(",le=\"{bound}\""), total as f64);
        }
        self.line(&format!("{name}_sum"), "", histogram.sum);
        self.line(&format!("{name}_count"), "", total as f64);
    }
}

fn labels(model: &str) -> String {
    let model = model.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("model_name=\"{model}\",engine=\"0\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_add_up() {
        let metrics = Metrics::new("a\"b");
        for millis in [1, 2, 30, 90_000] {
            metrics.first_token(Duration::from_millis(millis));
        }
        let text = metrics.text();
        let value = |line: &str| {
            let labelled = format!("vllm:time_to_first_token_seconds_{line}");
            let found = text.lines().find(|text| text.starts_with(&labelled)).unwrap();
            found.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        let labels = "model_name=\"a\\\"b\",engine=\"0\"";
        assert_eq!(value(&format!("bucket{{{labels},le=\"0.001\"}}")), 1);
        assert_eq!(value(&format!("bucket{{{labels},le=\"0.005\"}}")), 2);
        assert_eq!(value(&format!("bucket{{{labels},le=\"80\"}}")), 3);
        assert_eq!(value(&format!("bucket{{{labels},le=\"+Inf\"}}")), 4);
        assert_eq!(value("count"), 4);
        assert!(text.contains("_seconds_sum{model_name=\"a\\\"b\",engine=\"0\"} 90.033"), "{text}");
    }

    #[test]
    fn a_step_is_counted_once() {
        let metrics = Metrics::new("m");
        let stats = Stats {
            steps: 1,
            last_step_tokens: 7,
            total_blocks: 4,
            free_blocks: 1,
            used_slots: 36,
            ..Stats::default()
        };
        metrics.step(stats);
        metrics.step(stats);
        let text = metrics.text();
        assert!(
            text.contains("vllm:iteration_tokens_total_count{model_name=\"m\",engine=\"0\"} 1\n")
        );
        assert!(text.contains("vllm:kv_cache_usage_perc{model_name=\"m\",engine=\"0\"} 0.75\n"));
        // Three blocks have 48 slots.
        assert!(text.contains("vllm:kv_cache_unused_perc{model_name=\"m\",engine=\"0\"} 0.25\n"));
    }
}
