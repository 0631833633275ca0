//! Means over problems that were each answered several times.

use super::normal::student_95;
use super::{Estimate, Proportion};

/// The mean over problems of their replies' mean value, with the standard error over problems
/// (Miller 2024, "Adding Error Bars to Evals", section 3.1): replies to one problem resemble each
/// other, and counting each as a draw of its own would promise too much. The interval takes
/// Student's quantile, and stays within 0 and 1 where all values do.
///
/// `n` is the number of problems. Where all problems have one mean, which leaves no error to
/// measure, the interval is Wilson's of so many problems. `None` without a problem that has a
/// value; problems without are left out.
pub fn clustered<'a>(problems: impl IntoIterator<Item = &'a [f64]>) -> Option<Estimate> {
    let mut shares = true;
    let mut means = Vec::new();
    for values in problems {
        if !values.is_empty() {
            shares &= values.iter().all(|value| (0.0..=1.0).contains(value));
            means.push(values.iter().sum::<f64>() / values.len() as f64);
        }
    }
    let count = means.len() as f64;
    if means.is_empty() {
        return None;
    }
    let value = means.iter().sum::<f64>() / count;
    let squares: f64 = means.iter().map(|mean| (mean - value).powi(2)).sum();
    let n = means.len() as u64;
    let standard_error = (n > 1).then(|| (squares / (count - 1.0)).sqrt() / count.sqrt());
    let (low, high) = match standard_error {
        Some(error) if squares > 1e-24 => {
            let half = student_95(n - 1) * error;
            let bound = |end: f64| if shares { end.clamp(0.0, 1.0) } else { end };
            (bound(value - half), bound(value + half))
        }
        _ if shares => {
            let wilson = Proportion::new((value * count).round() as u64, n);
            (wilson.low.min(value), wilson.high.max(value))
        }
        Some(_) => (value, value),
        None => (f64::NEG_INFINITY, f64::INFINITY),
    };
    // JSON has no infinity.
    let (low, high) = (low.max(f64::MIN), high.min(f64::MAX));
    Some(Estimate { value, low, high, n, standard_error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::tests::close;

    #[test]
    fn the_error_is_over_problems() {
        // Means 1, 0.5, 0, 0.5: standard deviation √(0.5 / 3), over √4.
        let problems = [vec![1.0; 8], vec![0.0, 1.0], vec![0.0], vec![1.0, 0.0, 0.0, 1.0], vec![]];
        let found = clustered(problems.iter().map(Vec::as_slice)).unwrap();
        assert_eq!(found.n, 4);
        close(found.value, 0.5, 1e-12);
        let error = (0.5_f64 / 3.0).sqrt() / 2.0;
        close(found.standard_error.unwrap(), error, 1e-12);
        close(found.low, 0.0, 0.0); // 0.5 - 3.182 * 0.204 < 0
        let once: Vec<Vec<f64>> = (0..400).map(|at| vec![f64::from(at % 2)]).collect();
        let once = clustered(once.iter().map(Vec::as_slice)).unwrap();
        close(once.high, 0.5 + 1.9659 * 0.025_031, 1e-4);
    }

    /// Repeats that agree add nothing, however many there are.
    #[test]
    fn copies_do_not_narrow_it() {
        let of = |copies: usize| {
            let problems: Vec<Vec<f64>> =
                (0..40).map(|at| vec![f64::from(u8::from(at < 30)); copies]).collect();
            clustered(problems.iter().map(Vec::as_slice)).unwrap()
        };
        assert_eq!(of(1), of(16));
    }

    #[test]
    fn without_differences_the_interval_is_wilsons() {
        let problems = vec![vec![1.0, 1.0]; 10];
        let found = clustered(problems.iter().map(Vec::as_slice)).unwrap();
        assert_eq!((found.value, found.high, found.standard_error), (1.0, 1.0, Some(0.0)));
        close(found.low, 0.722_467, 1e-6);
        assert_eq!(clustered([]), None);
        let single = clustered([[3.0].as_slice()]).unwrap();
        assert!(single.low < -1e300 && single.high > 1e300 && single.standard_error.is_none());
    }
}
