//! The students of an ablation, several at a time.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use limbeck_run::Error;

use crate::pipeline;
use crate::pipeline::graph::{Context, Stage};
use crate::pipeline::runner::Runner;

/// A student to train and to evaluate.
#[derive(Debug)]
pub(crate) struct Job {
    /// For messages.
    pub(crate) title: String,
    pub(crate) context: Context,
    pub(crate) stages: Vec<Stage>,
    pub(crate) runner: Runner,
}

impl Job {
    /// Runs what is not up to date. What the processes say goes to `log.txt` of the job's
    /// folder where others run beside it.
    ///
    /// # Errors
    /// Those of the runner, with the job's name.
    pub(crate) fn run(&self, beside_others: bool) -> Result<()> {
        let folder = self.context.run();
        fs::create_dir_all(&folder).map_err(|source| Error::write(&folder, source))?;
        pipeline::write_config(&self.context, &self.runner.config)?;
        let log = beside_others.then(|| folder.join("log.txt"));
        let place =
            log.as_ref().map_or_else(String::new, |log| format!(" (see {})", log.display()));
        let runner = Runner { log, ..self.runner.clone() };
        for stage in &self.stages {
            let outcome = runner.run_one(stage);
            let outcome = outcome.with_context(|| format!("{}{place}", self.title))?;
            eprintln!("{:30} {}", self.title, outcome.line());
        }
        Ok(())
    }
}

/// Runs all jobs, at most `at_once` at a time, in order. A job that fails does not keep the
/// others from running.
///
/// # Errors
/// That of the first job that failed; the others are said.
pub(crate) fn run_all<T: Sync>(
    jobs: &[T],
    at_once: usize,
    run: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let work = || {
        while let Some((index, job)) = take(jobs, &next) {
            if let Err(error) = run(job) {
                eprintln!("error: {error:#}");
                failures.lock().unwrap_or_else(PoisonError::into_inner).push((index, error));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..at_once.min(jobs.len()) {
            scope.spawn(work);
        }
    });
    let mut failures: Vec<(usize, anyhow::Error)> =
        failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|(index, _)| *index);
    let count = failures.len();
    match failures.into_iter().next() {
        None => Ok(()),
        Some((_, error)) if count == 1 => Err(error),
        Some((_, error)) => {
            Err(error.context(format!("{count} of {} students failed; the first", jobs.len())))
        }
    }
}

/// The next job that nobody has taken yet.
fn take<'a, T>(jobs: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    Some((index, jobs.get(index)?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::{Failure, diagnose};

    #[test]
    fn at_most_so_many_run_at_once_and_each_runs_once() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let done = Mutex::new(Vec::new());
        let jobs: Vec<usize> = (0..20).collect();
        run_all(&jobs, 3, |job| {
            most.fetch_max(1 + running.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
            thread::sleep(Duration::from_millis(5));
            running.fetch_sub(1, Ordering::SeqCst);
            done.lock().unwrap().push(*job);
            Ok(())
        })
        .unwrap();
        assert!((2..=3).contains(&most.into_inner()));
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done, jobs);
    }

    #[test]
    fn a_failure_is_told_with_its_code_after_the_others_ran() {
        let ran = AtomicUsize::new(0);
        let fails = |failing: &'static [usize]| {
            let ran = &ran;
            move |job: &usize| -> Result<()> {
                ran.fetch_add(1, Ordering::SeqCst);
                if failing.contains(job) {
                    let failure = Failure::new(limbeck_run::Exit::BadInput, format!("no {job}"));
                    return Err(failure.into());
                }
                Ok(())
            }
        };
        let jobs = [0, 1, 2, 3];
        let error = run_all(&jobs, 2, fails(&[1])).unwrap_err();
        assert_eq!((format!("{error:#}").as_str(), diagnose(&error).0), ("no 1", 3));
        let error = run_all(&jobs, 1, fails(&[3, 1])).unwrap_err();
        assert_eq!(format!("{error:#}"), "2 of 4 students failed; the first: no 1");
        assert_eq!(diagnose(&error).0, 3);
        assert_eq!(ran.into_inner(), 8);
        run_all(&[0_usize; 0], 2, |_| Ok(())).unwrap();
    }
}
