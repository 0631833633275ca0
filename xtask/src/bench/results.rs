//! What criterion measured, read from its folder of estimates.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use limbeck_run::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The measurements of one run on one machine.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Results {
    /// Processor and number of cores.
    machine: String,
    /// By criterion's name of the bench.
    benches: BTreeMap<String, Measurement>,
}

/// The time of one iteration, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Measurement {
    mean: f64,
    /// 95% confidence interval of the mean.
    low: f64,
    high: f64,
    /// Elements or bytes an iteration works on, where the bench says so.
    throughput: Option<f64>,
}

impl Results {
    /// Reads every `new/estimates.json` below the folder that was written since `started`;
    /// older ones belong to benches that did not run.
    pub(super) fn collect(folder: &Path, started: SystemTime) -> Result<Self> {
        let mut results = Self { machine: machine(), ..Self::default() };
        if folder.is_dir() {
            results.collect_below(folder, started)?;
        }
        Ok(results)
    }

    fn collect_below(&mut self, folder: &Path, started: SystemTime) -> Result<()> {
        for entry in fs::read_dir(folder).map_err(|source| Error::read(folder, source))? {
            let path = entry.map_err(|source| Error::read(folder, source))?.path();
            if !path.is_dir() {
                continue;
            }
            let estimates = path.join("estimates.json");
            if path.file_name().is_none_or(|name| name != "new") || !estimates.is_file() {
                self.collect_below(&path, started)?;
                continue;
            }
            let modified = fs::metadata(&estimates).and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|time| time >= started) {
                let estimates = json(&estimates)?;
                let bench = json(&path.join("benchmark.json"))?;
                let name = bench["full_id"].as_str().context("a bench without full_id")?;
                self.benches.insert(name.to_owned(), Measurement::new(&estimates, &bench)?);
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.benches.is_empty()
    }

    /// A line per bench: time, rate, and how it compares.
    pub(super) fn table(&self, baseline: Option<&Self>) -> String {
        let width = self.benches.keys().map(String::len).max().unwrap_or(0).max(5);
        let mut table = format!("{:width$}  {:>12} {:>14}", "bench", "time", "per second");
        if baseline.is_some() {
            table.push_str("     baseline  ratio");
        }
        table.push('\n');
        for (name, bench) in &self.benches {
            let rate = bench
                .throughput
                .map_or(String::new(), |amount| format!("{:.4e}", amount / (bench.mean * 1e-9)));
            // Writing to a string cannot fail.
            let _ = write!(table, "{name:width$}  {:>12} {rate:>14}", duration(bench.mean));
            if let Some(baseline) = baseline {
                let _ = match baseline.benches.get(name) {
                    Some(old) => {
                        write!(table, " {:>12} {:>6.2}", duration(old.mean), bench.mean / old.mean)
                    }
                    None => write!(table, " {:>12}", "new"),
                };
            }
            table.push('\n');
        }
        if let Some(baseline) = baseline
            && baseline.machine != self.machine
        {
            let _ = writeln!(
                table,
                "the baseline was measured on another machine: {}, this is {}",
                baseline.machine, self.machine
            );
        }
        table
    }

    /// The benches whose mean is above the baseline's by more than the percentage, and
    /// whose confidence interval lies above the baseline's altogether: a shift within the
    /// noise is none.
    pub(super) fn slower(&self, baseline: &Self, max_percent: f64) -> Vec<String> {
        let slower = |name: &String, bench: &Measurement| {
            let old = baseline.benches.get(name)?;
            let limit = old.mean * (1.0 + max_percent / 100.0);
            (bench.mean > limit && bench.low > old.high).then(|| name.clone())
        };
        self.benches.iter().filter_map(|(name, bench)| slower(name, bench)).collect()
    }
}

impl Measurement {
    fn new(estimates: &Value, bench: &Value) -> Result<Self> {
        let number = |pointer: &str| {
            let value = estimates.pointer(pointer).and_then(Value::as_f64);
            value.with_context(|| format!("criterion's estimates have no {pointer}"))
        };
        let throughput = bench["throughput"].as_object();
        Ok(Self {
            mean: number("/mean/point_estimate")?,
            low: number("/mean/confidence_interval/lower_bound")?,
            high: number("/mean/confidence_interval/upper_bound")?,
            throughput: throughput.and_then(|kinds| kinds.values().next()?.as_f64()),
        })
    }
}

fn json(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is no JSON", path.display()))
}

fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        value if value < 1e3 => format!("{value:.1} ns"),
        value if value < 1e6 => format!("{:.2} µs", value / 1e3),
        value if value < 1e9 => format!("{:.2} ms", value / 1e6),
        value => format!("{:.3} s", value / 1e9),
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or(std::env::consts::ARCH, |(_, model)| model.trim());
    format!("{model}, {cores} cores")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write(folder: &Path, name: &str, mean: f64) {
        let new = folder.join(name).join("new");
        fs::create_dir_all(&new).unwrap();
        let estimates = serde_json::json!({ "mean": {
            "point_estimate": mean,
            "confidence_interval": { "lower_bound": mean * 0.99, "upper_bound": mean * 1.01 },
        } });
        fs::write(new.join("estimates.json"), estimates.to_string()).unwrap();
        let bench = serde_json::json!({ "full_id": name, "throughput": { "Elements": 1000 } });
        fs::write(new.join("benchmark.json"), bench.to_string()).unwrap();
    }

    fn measured(means: &[(&str, f64)]) -> Results {
        let folder = tempfile::tempdir().unwrap();
        for (name, mean) in means {
            write(folder.path(), name, *mean);
        }
        Results::collect(folder.path(), SystemTime::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn results_are_read_by_name_and_survive_the_round_trip() {
        let results = measured(&[("train/step", 2e6), ("decode", 500.0)]);
        assert_eq!(results.benches.keys().collect::<Vec<_>>(), ["decode", "train/step"]);
        let text = serde_json::to_string(&results).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
        let table = results.table(None);
        assert!(table.contains("train/step       2.00 ms       5.0000e5"), "{table}");
    }

    #[test]
    fn estimates_of_earlier_runs_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "old", 1.0);
        let later = SystemTime::now() + Duration::from_secs(60);
        assert!(Results::collect(folder.path(), later).unwrap().is_empty());
        assert!(Results::collect(&folder.path().join("none"), later).unwrap().is_empty());
    }

    #[test]
    fn only_what_is_slower_beyond_limit_and_noise_fails() {
        let baseline = measured(&[("a", 100.0), ("b", 100.0), ("c", 100.0)]);
        let results = measured(&[("a", 110.0), ("b", 130.0), ("c", 50.0), ("d", 900.0)]);
        assert_eq!(results.slower(&baseline, 15.0), ["b"]);
        assert_eq!(results.slower(&baseline, 5.0), ["a", "b"]);
        let table = results.table(Some(&baseline));
        assert!(table.contains("1.30") && table.contains("new"), "{table}");

        let mut noisy = results;
        noisy.benches.get_mut("b").unwrap().low = 90.0;
        assert_eq!(noisy.slower(&baseline, 15.0), [""; 0]);
    }
}
