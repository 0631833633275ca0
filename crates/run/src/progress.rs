//! Progress on stderr with rate and time left: a bar on a terminal, plain lines
//! otherwise.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a plain line is written.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// How often the bar's numbers are refreshed.
const BAR_INTERVAL: Duration = Duration::from_millis(100);

/// The progress of one task towards a known total.
///
/// The unit `B` counts bytes and is shown in MB; any other is a plural noun such as
/// `tokens`. Work done before a resume is given to [`Progress::skip`], so that it does not
/// count in the rate.
#[derive(Debug)]
pub struct Progress {
    label: String,
    unit: String,
    state: Mutex<State>,
    /// `None` where stderr is no terminal.
    bar: Option<ProgressBar>,
}

#[derive(Debug)]
struct State {
    total: u64,
    done: u64,
    skipped: u64,
    message: String,
    started: Instant,
    last_shown: Instant,
    finished: bool,
}

impl Progress {
    /// Starts a task. A `total` of 0 means that it is not known.
    pub fn new(label: &str, total: u64, unit: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
            let template =
                if total == 0 { "{prefix} {spinner} {msg}" } else { "{prefix} [{bar:25}] {msg}" };
            // The templates are constants; the default style is as good a fallback as any.
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(label.to_owned());
            bar
        });
        let now = Instant::now();
        let state = State {
            total,
            done: 0,
            skipped: 0,
            message: String::new(),
            started: now,
            last_shown: now,
            finished: false,
        };
        Self { label: label.to_owned(), unit: unit.to_owned(), state: Mutex::new(state), bar }
    }

    /// Counts `amount` as done by an earlier run.
    pub fn skip(&self, amount: u64) {
        let mut state = self.lock();
        state.skipped += amount;
        state.done += amount;
    }

    /// Counts `amount` as done.
    pub fn inc(&self, amount: u64) {
        let mut state = self.lock();
        state.done += amount;
        let interval = if self.bar.is_some() { BAR_INTERVAL } else { LINE_INTERVAL };
        // The last line is that of `finish`.
        let complete = self.bar.is_none() && state.total > 0 && state.done >= state.total;
        if state.last_shown.elapsed() >= interval && !complete {
            state.last_shown = Instant::now();
            self.show(&state);
        }
    }

    /// Sets a few words shown with the numbers, such as the current loss.
    pub fn set_message(&self, message: String) {
        self.lock().message = message;
    }

    /// Shows the last state. Further calls do nothing.
    pub fn finish(&self) {
        let mut state = self.lock();
        if state.finished {
            return;
        }
        state.finished = true;
        self.show(&state);
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }

    fn show(&self, state: &State) {
        let elapsed = state.started.elapsed();
        let text = describe(state, &self.unit, elapsed);
        match &self.bar {
            Some(bar) => {
                bar.set_position(state.done);
                bar.set_message(text);
            }
            None => eprintln!("{}: {text}", self.label),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The numbers are valid whatever another thread was doing when it panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

fn describe(state: &State, unit: &str, elapsed: Duration) -> String {
    let rate = (state.done - state.skipped) as f64 / elapsed.as_secs_f64().max(1e-9);
    let mut text = amount(state.done, unit);
    if state.total > 0 {
        let percent = 100.0 * state.done as f64 / state.total as f64;
        text = format!("{percent:.0}% {text} of {}", amount(state.total, unit));
    }
    let rate_text = if unit == "B" {
        format!("{:.1} MB/s", rate / 1e6)
    } else {
        format!("{} {unit}/s", significant(rate))
    };
    text = format!("{text}, {rate_text}");
    if state.finished {
        text = format!("{text}, {} taken", format_duration(elapsed));
    } else if state.total > state.done && rate > 0.0 {
        let left = Duration::from_secs_f64(((state.total - state.done) as f64 / rate).min(1e9));
        text = format!("{text}, {} left", format_duration(left));
    }
    if !state.message.is_empty() {
        text = format!("{text}, {}", state.message);
    }
    text
}

fn amount(count: u64, unit: &str) -> String {
    if unit == "B" { format!("{:.1} MB", count as f64 / 1e6) } else { format!("{count} {unit}") }
}

fn significant(rate: f64) -> String {
    match rate {
        100.0.. => format!("{rate:.0}"),
        1.0.. => format!("{rate:.1}"),
        _ => format!("{rate:.3}"),
    }
}

/// A duration for people: `3.2 s`, `4 min 05 s`, `2 h 10 min`.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(done: u64, skipped: u64, total: u64) -> State {
        let now = Instant::now();
        State {
            total,
            done,
            skipped,
            message: String::new(),
            started: now,
            last_shown: now,
            finished: false,
        }
    }

    #[test]
    fn rate_and_time_left_count_only_this_run() {
        let mut state = state(600, 400, 1000);
        state.message = "loss 0.5".to_owned();
        assert_eq!(
            describe(&state, "steps", Duration::from_secs(10)),
            "60% 600 steps of 1000 steps, 20.0 steps/s, 20.0 s left, loss 0.5"
        );
    }

    #[test]
    fn bytes_are_shown_in_megabytes_and_an_unknown_total_has_no_end() {
        let state = state(5_000_000, 0, 0);
        assert_eq!(describe(&state, "B", Duration::from_secs(2)), "5.0 MB, 2.5 MB/s");
    }

    #[test]
    fn a_slow_rate_is_not_zero() {
        let text = describe(&state(1, 0, 3), "steps", Duration::from_secs(40));
        assert_eq!(text, "33% 1 steps of 3 steps, 0.025 steps/s, 1 min 20 s left");
    }

    #[test]
    fn durations_read_naturally() {
        let text = |seconds| format_duration(Duration::from_secs(seconds));
        assert_eq!([text(3), text(245), text(7800)], ["3.0 s", "4 min 05 s", "2 h 10 min"]);
    }
}
