//! An ablation as the page draws it: dots and intervals against each variant that the
//! others are held against, and the table behind them.

use serde::Serialize;

use super::axis::Axis;
use super::chart::{rounded, signed};
use super::format;
use crate::ablation::{Ablation, Difference, Variant, table};

/// Height of a variant's row in a chart, pixels.
const ROW: usize = 44;

#[derive(Debug, Serialize)]
pub(super) struct AblationView {
    scope: String,
    note: String,
    row: usize,
    charts: Vec<Chart>,
    against: Vec<String>,
    variants: Vec<VariantView>,
    has_seeds: bool,
}

#[derive(Debug, Serialize)]
struct Chart {
    id: String,
    against: String,
    ticks: Vec<Tick>,
    /// Place of no difference, per cent of the width.
    zero: f64,
    rows: Vec<ChartRow>,
}

/// A mark on the axis: per cent of the width.
#[derive(Debug, Serialize)]
struct Tick {
    at: f64,
    label: String,
}

/// Places are per cent of the width.
#[derive(Debug, Serialize)]
struct ChartRow {
    name: String,
    points: String,
    interval: String,
    at: f64,
    low: f64,
    high: f64,
    seeds: Vec<f64>,
    /// `better`, `worse` or `neither`: the style.
    style: &'static str,
}

#[derive(Debug, Serialize)]
struct VariantView {
    name: String,
    accuracy: String,
    by_seed: String,
    of_teacher: String,
    /// One for each of [`AblationView::against`].
    differences: Vec<Option<DifferenceView>>,
    speed: String,
    seconds: String,
}

#[derive(Debug, Serialize)]
struct DifferenceView {
    points: String,
    interval: String,
    verdict: String,
}

impl AblationView {
    pub(super) fn new(ablation: &Ablation) -> Self {
        let charts = ablation.against.iter().enumerate();
        Self {
            scope: table::scope(ablation),
            note: table::note(ablation),
            row: ROW,
            charts: charts.filter_map(|(index, name)| Chart::new(ablation, index, name)).collect(),
            against: ablation.against.clone(),
            variants: ablation
                .variants
                .iter()
                .map(|variant| VariantView::new(ablation, variant))
                .collect(),
            has_seeds: ablation.seeds.len() > 1,
        }
    }
}

impl Chart {
    /// `None` where there is nothing to hold against the variant.
    fn new(ablation: &Ablation, index: usize, against: &str) -> Option<Self> {
        let rows: Vec<(&Variant, &Difference)> = ablation
            .variants
            .iter()
            .filter_map(|variant| Some((variant, against_of(variant, against)?)))
            .collect();
        if rows.is_empty() {
            return None;
        }
        let values = || {
            rows.iter().flat_map(|(_, difference)| {
                let accuracy = &difference.accuracy;
                accuracy.by_run.iter().copied().chain([accuracy.low, accuracy.high, 0.0])
            })
        };
        let low = 100.0 * values().fold(f64::INFINITY, f64::min);
        let high = 100.0 * values().fold(f64::NEG_INFINITY, f64::max);
        let axis = Axis::new(low, high);
        let place = |points: f64| rounded(100.0 * (1.0 - axis.place(points)));
        let rows = rows
            .iter()
            .map(|(variant, difference)| {
                let accuracy = &difference.accuracy;
                ChartRow {
                    name: variant.name.clone(),
                    points: format::points(accuracy.difference),
                    interval: format::points_interval(accuracy.low, accuracy.high),
                    at: place(100.0 * accuracy.difference),
                    low: place(100.0 * accuracy.low),
                    high: place(100.0 * accuracy.high),
                    seeds: accuracy.by_run.iter().map(|value| place(100.0 * value)).collect(),
                    style: if accuracy.low > 0.0 {
                        "better"
                    } else if accuracy.high < 0.0 {
                        "worse"
                    } else {
                        "neither"
                    },
                }
            })
            .collect();
        let ticks = axis.ticks().into_iter();
        Some(Self {
            id: format!("ablation-{index}"),
            against: against.to_owned(),
            ticks: ticks.map(|value| Tick { at: place(value), label: signed(value) }).collect(),
            zero: place(0.0),
            rows,
        })
    }
}

impl VariantView {
    fn new(ablation: &Ablation, variant: &Variant) -> Self {
        let [speed, seconds] = table::training(variant);
        Self {
            name: variant.name.clone(),
            accuracy: table::accuracy(variant),
            by_seed: table::by_seed(variant),
            of_teacher: table::of_teacher(variant),
            differences: ablation
                .against
                .iter()
                .map(|against| against_of(variant, against).map(DifferenceView::new))
                .collect(),
            speed,
            seconds,
        }
    }
}

impl DifferenceView {
    fn new(difference: &Difference) -> Self {
        let accuracy = &difference.accuracy;
        Self {
            points: format::points(accuracy.difference),
            interval: format::points_interval(accuracy.low, accuracy.high),
            verdict: difference.words(),
        }
    }
}

fn against_of<'a>(variant: &'a Variant, against: &str) -> Option<&'a Difference> {
    variant.differences.iter().find(|difference| difference.against == against)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ablation::Verdict;
    use crate::statistics::{PooledAccuracy, PooledDifference, Proportion};

    fn variant(name: &str, solved: usize) -> Variant {
        let run = |count: usize| (0..100).map(|problem| problem < count).collect::<Vec<bool>>();
        let (ours, labels) = ([run(solved), run(solved + 2)], [run(50), run(50)]);
        let accuracy = PooledDifference::new(&ours, &labels, 1);
        let verdict = Verdict::of(accuracy.low, accuracy.high);
        let difference =
            Difference { against: "labels".to_owned(), accuracy, verdict, seeds_agreeing: 2 };
        Variant {
            name: name.to_owned(),
            accuracy: PooledAccuracy::new(&ours, 1),
            cot_completion: PooledAccuracy::new(&ours, 1),
            share_of_teacher: None,
            differences: if name == "labels" { vec![] } else { vec![difference] },
            training: None,
        }
    }

    #[test]
    fn places_keep_the_order_of_values_and_stay_on_the_page() {
        let ablation = Ablation {
            seeds: vec![1, 2],
            problems: 100,
            teacher: Proportion::new(99, 100),
            against: vec!["labels".to_owned()],
            variants: vec![variant("labels", 49), variant("kl", 80), variant("mse", 20)],
        };
        let view = AblationView::new(&ablation);
        let chart = &view.charts[0];
        let names: Vec<&str> = chart.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["kl", "mse"]);
        let (kl, mse) = (&chart.rows[0], &chart.rows[1]);
        assert_eq!((kl.style, mse.style), ("better", "worse"));
        let order = [mse.low, mse.at, mse.high, chart.zero, kl.low, kl.seeds[0], kl.at, kl.high];
        assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{order:?}");
        assert!(order[0] >= 0.0 && order[7] <= 100.0, "{order:?}");
        let labels: Vec<&str> = chart.ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, ["−40", "−20", "0", "+20", "+40"]);
        assert!(view.variants[0].differences[0].is_none());
        assert!(view.variants[1].differences[0].as_ref().unwrap().verdict == "better");
        assert_eq!(view.variants[1].speed, "–");
    }
}
