//! What a sequence of tasks taught and what it cost: the numbers of continual learning
//! (Lopez-Paz and Ranzato 2017, arXiv:1706.08840; Chaudhry et al. 2018, arXiv:1801.10112).
//!
//! `R[i, j]` is the score on task j after stage i. Task 0 is what the model could do before
//! the sequence and stage 0 is the model then, so that what the base forgets counts like any
//! other task; stage i has learned task i. T is the last stage.

use serde::{Deserialize, Serialize};

/// Scores of every task after every stage so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreMatrix {
    /// The tasks, the base's first.
    tasks: Vec<String>,
    /// By stage, the scores of all tasks, 0 to 1.
    rows: Vec<Vec<f64>>,
}

impl ScoreMatrix {
    /// A matrix of the model before the sequence. `None` unless there is a score a task, and
    /// a task besides the base's.
    pub fn new(tasks: Vec<String>, before: Vec<f64>) -> Option<Self> {
        (tasks.len() >= 2 && tasks.len() == before.len())
            .then(|| Self { tasks, rows: vec![before] })
    }

    /// Adds the next stage's scores; whether they fit.
    #[must_use]
    pub fn push(&mut self, scores: Vec<f64>) -> bool {
        let fits = scores.len() == self.tasks.len() && self.rows.len() < self.tasks.len();
        if fits {
            self.rows.push(scores);
        }
        fits
    }

    /// Names of the tasks.
    pub fn tasks(&self) -> &[String] {
        &self.tasks
    }

    /// Scores by stage.
    pub fn rows(&self) -> &[Vec<f64>] {
        &self.rows
    }

    /// Stages done; the task learned last has this number.
    pub fn stages(&self) -> usize {
        self.rows.len() - 1
    }

    fn last(&self) -> &[f64] {
        &self.rows[self.stages()]
    }

    /// Mean over all tasks, the base's included, after the last stage.
    pub fn final_mean(&self) -> f64 {
        mean(self.last().iter().copied()).unwrap_or_default()
    }

    /// What learning a task brought it: the mean over learned tasks of `R[i, i] − R[0, i]`.
    /// `None` before the first.
    pub fn gain(&self) -> Option<f64> {
        mean((1..=self.stages()).map(|task| self.rows[task][task] - self.rows[0][task]))
    }

    /// Backward transfer: `1/T · Σ_{i<T} (R[T, i] − R[i, i])`; below 0 where tasks were
    /// forgotten. `None` before the first stage.
    pub fn backward_transfer(&self) -> Option<f64> {
        mean((0..self.stages()).map(|task| self.last()[task] - self.rows[task][task]))
    }

    /// Forward transfer: `1/(T−1) · Σ_{1<i≤T} (R[i−1, i] − R[0, i])`, what a task gains from
    /// those before it. `None` before the second stage.
    pub fn forward_transfer(&self) -> Option<f64> {
        mean((2..=self.stages()).map(|task| self.rows[task - 1][task] - self.rows[0][task]))
    }

    /// Mean over earlier tasks of `max_{l<T} R[l, j] − R[T, j]`. `None` before the first
    /// stage.
    pub fn forgetting(&self) -> Option<f64> {
        let stages = self.stages();
        mean((0..stages).map(|task| {
            let best = self.rows[..stages].iter().map(|row| row[task]);
            best.fold(f64::NEG_INFINITY, f64::max) - self.last()[task]
        }))
    }

    /// Performance drop rate: mean over earlier tasks of `(R[i, i] − R[T, i]) / R[i, i]`.
    /// Tasks that were never solved at all have nothing to drop and are left out. `None`
    /// where that leaves none.
    pub fn drop_rate(&self) -> Option<f64> {
        mean((0..self.stages()).filter_map(|task| self.task_drop_rate(task)))
    }

    /// The drop rate of one task since it was learned.
    pub fn task_drop_rate(&self, task: usize) -> Option<f64> {
        let learned = *self.rows.get(task)?.get(task)?;
        (learned > 0.0).then(|| (learned - self.last()[task]) / learned)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A base and two tasks.
    fn matrix() -> ScoreMatrix {
        let tasks = ["base", "a", "b"].map(str::to_owned).to_vec();
        let mut matrix = ScoreMatrix::new(tasks, vec![0.9, 0.1, 0.2]).unwrap();
        assert!(matrix.push(vec![0.6, 0.8, 0.3]));
        assert!(matrix.push(vec![0.7, 0.4, 0.7]));
        matrix
    }

    #[track_caller]
    fn check(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
    }

    #[test]
    fn the_numbers_are_the_formulas() {
        let matrix = matrix();
        check(Some(matrix.final_mean()), (0.7 + 0.4 + 0.7) / 3.0);
        check(matrix.gain(), 0.6);
        check(matrix.backward_transfer(), (-0.2 - 0.4) / 2.0);
        check(matrix.forward_transfer(), 0.1);
        check(matrix.forgetting(), 0.3);
        check(matrix.drop_rate(), f64::midpoint(0.2 / 0.9, 0.5));
        check(matrix.task_drop_rate(0), 0.2 / 0.9);
    }

    #[test]
    fn forgetting_is_from_the_best_stage_and_not_from_when_it_was_learned() {
        let tasks = ["base", "a", "b"].map(str::to_owned).to_vec();
        let mut matrix = ScoreMatrix::new(tasks, vec![0.5, 0.0, 0.0]).unwrap();
        assert!(matrix.push(vec![0.75, 0.5, 0.0]) && matrix.push(vec![0.5, 0.5, 0.5]));
        check(matrix.forgetting(), 0.125);
        check(matrix.backward_transfer(), 0.0);
        check(matrix.drop_rate(), 0.0);
    }

    #[test]
    fn a_task_that_was_never_solved_has_no_drop_rate() {
        let tasks = ["base", "a", "b"].map(str::to_owned).to_vec();
        let mut matrix = ScoreMatrix::new(tasks, vec![0.5, 0.0, 0.0]).unwrap();
        assert!(matrix.push(vec![0.5, 0.0, 0.0]) && matrix.push(vec![0.4, 0.0, 0.5]));
        check(matrix.drop_rate(), 0.2);
        assert_eq!(matrix.task_drop_rate(1), None);
    }

    #[test]
    fn before_any_stage_only_the_mean_is_known() {
        let tasks = ["base", "a"].map(str::to_owned).to_vec();
        let mut matrix = ScoreMatrix::new(tasks.clone(), vec![0.5, 0.1]).unwrap();
        assert_eq!((matrix.gain(), matrix.drop_rate()), (None, None));
        assert_eq!((matrix.forgetting(), matrix.backward_transfer()), (None, None));
        assert!(!matrix.push(vec![0.5]), "a score is missing");
        assert!(matrix.push(vec![0.5, 0.4]) && matrix.forward_transfer().is_none());
        assert!(!matrix.push(vec![0.5, 0.4]), "there is no further task");
        assert_eq!(ScoreMatrix::new(tasks, vec![0.5]), None);
        assert_eq!(ScoreMatrix::new(vec!["base".to_owned()], vec![0.5]), None);
    }
}
