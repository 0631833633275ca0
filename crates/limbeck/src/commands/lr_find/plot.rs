//! Loss over learning rate as an SVG file.

use std::fmt::Write as _;

use limbeck_train::rate_finder::Sweep;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 44.0;

/// Places of values on the page: rates by their logarithm, losses as they are.
struct Axes {
    rates: (f64, f64),
    losses: (f64, f64),
}

impl Axes {
    fn new(sweep: &Sweep) -> Self {
        let rate = |point: Option<&limbeck_train::rate_finder::SweepPoint>, other| {
            point.map_or(other, |point| point.learning_rate.log10())
        };
        let first = rate(sweep.points.first(), -6.0);
        let last = rate(sweep.points.last(), 0.0).max(first + 0.1);
        let smoothed = || sweep.points.iter().map(|point| point.smoothed);
        let losses = sweep.points.iter().map(|point| point.loss);
        let low = losses.chain(smoothed()).fold(f64::MAX, f64::min);
        let begin = sweep.points.first().map_or(1.0, |point| point.smoothed);
        // What comes after the loss is lost would flatten all before.
        let high = (begin + 0.5 * (begin - low)).max(low + 1e-3);
        let margin = 0.05 * (high - low);
        Self { rates: (first, last), losses: (low - margin, high + margin) }
    }

    fn x(&self, rate: f64) -> f64 {
        let share = (rate.log10() - self.rates.0) / (self.rates.1 - self.rates.0);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, loss: f64) -> f64 {
        let share = (loss - self.losses.0) / (self.losses.1 - self.losses.0);
        TOP + (1.0 - share.clamp(0.0, 1.0)) * (HEIGHT - TOP - BOTTOM)
    }
}

/// The drawing: raw losses as dots, the smoothed loss as a line, the two rates as
/// verticals.
pub(super) fn svg(sweep: &Sweep) -> String {
    let axes = Axes::new(sweep);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <title>Loss over learning rate</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    let bottom = HEIGHT - BOTTOM;
    for exponent in axes.rates.0.ceil() as i32..=axes.rates.1.floor() as i32 {
        let x = axes.x(10_f64.powi(exponent));
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#dcdcd6\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#5c6068\">1e{exponent}</text>",
            bottom + 18.0
        );
    }
    for tick in 0..=4 {
        let loss = axes.losses.0 + f64::from(tick) / 4.0 * (axes.losses.1 - axes.losses.0);
        let y = axes.y(loss);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#dcdcd6\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#5c6068\">{loss:.2}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0
        );
    }
    for point in &sweep.points {
        let (x, y) = (axes.x(point.learning_rate), axes.y(point.loss));
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" fill=\"#b9c9da\"/>");
    }
    let line: Vec<String> = sweep
        .points
        .iter()
        .map(|point| format!("{:.1},{:.1}", axes.x(point.learning_rate), axes.y(point.smoothed)))
        .collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#2f6db0\" stroke-width=\"2\"/>",
        line.join(" ")
    );
    // One above the other: the two rates may be close.
    for (row, (name, rate)) in
        [("steepest", sweep.steepest), ("minimum / 10", sweep.tenth_of_minimum)]
            .into_iter()
            .enumerate()
    {
        let Some(rate) = rate else { continue };
        let x = axes.x(rate);
        let (anchor, shift) = if x > WIDTH / 2.0 { ("end", -5.0) } else { ("start", 5.0) };
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#a3281f\" \
             stroke-dasharray=\"4 3\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#a3281f\">{name}: {rate:.1e}</text>",
            x + shift,
            TOP + 14.0 + 16.0 * row as f64
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#1c1e21\">learning rate</text>\
         <text x=\"{LEFT}\" y=\"16\" fill=\"#1c1e21\">loss (dots), smoothed (line)</text>\n</svg>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 8.0
    );
    out
}
