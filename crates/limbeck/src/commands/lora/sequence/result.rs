//! What came of a sequence: matrices by method and seed, and means over the seeds.

use limbeck_lora::forgetting::ScoreMatrix;
use serde::Serialize;

/// `sequence.json`.
#[derive(Debug, Serialize)]
pub(super) struct SequenceResult {
    /// The base and the tasks.
    pub(super) tasks: Vec<String>,
    /// Test problems of each.
    pub(super) problems: Vec<usize>,
    pub(super) seeds: Vec<u64>,
    /// The method that gains are held against is the first.
    pub(super) methods: Vec<MethodResult>,
}

#[derive(Debug, Serialize)]
pub(super) struct MethodResult {
    pub(super) name: String,
    pub(super) summary: Summary,
    /// By seed.
    pub(super) matrices: Vec<ScoreMatrix>,
}

/// Means over the seeds; `None` where a number is of no seed.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Mean over all tasks, the base's included, after the last.
    pub(super) final_mean: Option<Spread>,
    /// What learning a task brought it.
    pub(super) gain: Option<Spread>,
    /// The gain over that of the first method with the same seed.
    pub(super) share_of_gain: Option<Spread>,
    /// Mean over earlier tasks of what was lost, as a share of what was known.
    pub(super) drop_rate: Option<Spread>,
    /// The same of the base alone.
    pub(super) base_drop_rate: Option<Spread>,
    pub(super) forgetting: Option<Spread>,
    pub(super) backward_transfer: Option<Spread>,
    pub(super) forward_transfer: Option<Spread>,
}

/// A mean over seeds with the standard deviation between them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) mean: f64,
    /// With n − 1; `None` for one seed.
    pub(super) deviation: Option<f64>,
}

impl SequenceResult {
    /// Of matrices by method, each by seed.
    pub(super) fn new(
        seeds: Vec<u64>,
        problems: Vec<usize>,
        cells: Vec<(String, Vec<ScoreMatrix>)>,
    ) -> Self {
        let first = cells.first().map(|(_, matrices)| matrices.clone()).unwrap_or_default();
        let tasks = first.first().map(|matrix| matrix.tasks().to_vec()).unwrap_or_default();
        let methods = cells
            .into_iter()
            .map(|(name, matrices)| {
                let summary = Summary::new(&matrices, &first);
                MethodResult { name, summary, matrices }
            })
            .collect();
        Self { tasks, problems, seeds, methods }
    }

    /// Figures for the manifest, as `method.figure`.
    pub(super) fn metrics(&self) -> Vec<(String, f64)> {
        let mut metrics = Vec::new();
        for MethodResult { name, summary, .. } in &self.methods {
            for (figure, spread) in summary.figures() {
                metrics.extend(spread.map(|spread| (format!("{name}.{figure}"), spread.mean)));
            }
        }
        metrics
    }
}

impl MethodResult {
    /// Scores after each stage, means over the seeds.
    pub(super) fn mean_rows(&self) -> Vec<Vec<f64>> {
        let Some(first) = self.matrices.first() else { return Vec::new() };
        let count = self.matrices.len() as f64;
        (0..first.rows().len())
            .map(|stage| {
                (0..first.tasks().len())
                    .map(|task| {
                        let of_seeds =
                            self.matrices.iter().map(|matrix| matrix.rows()[stage][task]);
                        of_seeds.sum::<f64>() / count
                    })
                    .collect()
            })
            .collect()
    }
}

impl Summary {
    fn new(matrices: &[ScoreMatrix], first: &[ScoreMatrix]) -> Self {
        let of = |number: &dyn Fn(&ScoreMatrix) -> Option<f64>| {
            Spread::of(matrices.iter().filter_map(number))
        };
        let shares = matrices.iter().zip(first).filter_map(|(matrix, first)| {
            let whole = first.gain().filter(|gain| *gain > 0.0)?;
            Some(matrix.gain()? / whole)
        });
        Self {
            final_mean: of(&|matrix| Some(matrix.final_mean())),
            gain: of(&ScoreMatrix::gain),
            share_of_gain: Spread::of(shares),
            drop_rate: of(&ScoreMatrix::drop_rate),
            base_drop_rate: of(&|matrix| matrix.task_drop_rate(0)),
            forgetting: of(&ScoreMatrix::forgetting),
            backward_transfer: of(&ScoreMatrix::backward_transfer),
            forward_transfer: of(&ScoreMatrix::forward_transfer),
        }
    }

    /// The figures by name, in the order of the table.
    pub(super) fn figures(&self) -> [(&'static str, Option<Spread>); 8] {
        [
            ("final_mean", self.final_mean),
            ("gain", self.gain),
            ("share_of_gain", self.share_of_gain),
            ("drop_rate", self.drop_rate),
            ("base_drop_rate", self.base_drop_rate),
            ("forgetting", self.forgetting),
            ("backward_transfer", self.backward_transfer),
            ("forward_transfer", self.forward_transfer),
        ]
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (!values.is_empty()).then(|| Self {
            mean,
            deviation: (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn matrix(rows: [[f64; 3]; 3]) -> ScoreMatrix {
        let tasks = ["base", "a", "b"].map(str::to_owned).to_vec();
        let mut matrix = ScoreMatrix::new(tasks, rows[0].to_vec()).unwrap();
        assert!(matrix.push(rows[1].to_vec()) && matrix.push(rows[2].to_vec()));
        matrix
    }

    /// Two methods with two seeds: the second learns three quarters and forgets nothing.
    pub(in super::super) fn result() -> SequenceResult {
        let before = [0.8, 0.0, 0.0];
        let plain = [
            matrix([before, [0.4, 0.8, 0.0], [0.4, 0.4, 0.8]]),
            matrix([before, [0.6, 0.8, 0.0], [0.6, 0.4, 0.8]]),
        ];
        let held = matrix([before, [0.8, 0.6, 0.0], [0.8, 0.6, 0.6]]);
        let cells = vec![
            ("plain".to_owned(), plain.to_vec()),
            ("held".to_owned(), vec![held.clone(), held]),
        ];
        SequenceResult::new(vec![1, 2], vec![50, 60, 70], cells)
    }

    #[test]
    fn means_are_over_seeds_and_gains_against_the_first_method() {
        let result = result();
        let [plain, held] = &result.methods[..] else { panic!("two methods") };
        let close = |spread: Option<Spread>, mean: f64, deviation: f64| {
            let found = spread.unwrap();
            assert!((found.mean - mean).abs() < 1e-12, "{found:?}");
            assert!((found.deviation.unwrap() - deviation).abs() < 1e-12, "{found:?}");
        };
        close(plain.summary.share_of_gain, 1.0, 0.0);
        close(held.summary.share_of_gain, 0.75, 0.0);
        close(plain.summary.base_drop_rate, 0.375, 0.125 * 2.0_f64.sqrt());
        close(held.summary.drop_rate, 0.0, 0.0);
        assert!((plain.mean_rows()[1][0] - 0.5).abs() < 1e-12);
        let metrics = result.metrics();
        let found = metrics.iter().find(|(name, _)| name == "plain.gain").unwrap();
        assert!((found.1 - 0.8).abs() < 1e-12);
    }

    #[test]
    fn one_seed_has_no_deviation_and_none_no_mean() {
        assert_eq!(Spread::of([0.5].into_iter()), Some(Spread { mean: 0.5, deviation: None }));
        assert_eq!(Spread::of(std::iter::empty()), None);
    }
}
