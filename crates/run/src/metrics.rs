//! The metrics of a run, step by step: a JSONL file for programs and an event file for
//! TensorBoard, both cut back to the checkpoint when a run resumes.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::{Error, Result, events};

/// The JSONL file's name in a run's folder.
pub(crate) const FILE: &str = "metrics.jsonl";

/// Writes `metrics.jsonl` (`{"step":…, name: value, …}` a line, a value that is not
/// finite as `null`) and an event file. Each step is on its way to the disk when
/// [`MetricsWriter::log`] returns.
#[derive(Debug)]
pub struct MetricsWriter {
    lines: (PathBuf, File),
    events: (PathBuf, File),
}

impl MetricsWriter {
    /// Opens the files of a folder. Without `resume_after_step` they start empty; with it,
    /// what was logged up to and including that step stays, and later steps (logged by a
    /// run that was killed after its last checkpoint) are dropped.
    ///
    /// # Errors
    /// Read and write errors.
    pub fn open(folder: &Path, resume_after_step: Option<u64>) -> Result<Self> {
        let (lines, events) = (folder.join(FILE), folder.join(events::FILE));
        let (kept_lines, kept_events) = match resume_after_step {
            Some(step) => (kept_lines(&read(&lines)?, step), kept_events(&read(&events)?, step)),
            None => (0, 0),
        };
        let lines_file = open_cut(&lines, kept_lines)?;
        let events_file = open_cut(&events, kept_events)?;
        let mut writer = Self { lines: (lines, lines_file), events: (events, events_file) };
        if kept_events == 0 {
            write(&mut writer.events, &events::first_record(wall_time()))?;
        }
        Ok(writer)
    }

    /// Logs the values of one step. Steps must not go back.
    ///
    /// # Errors
    /// Write errors.
    pub fn log(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut line = Map::new();
        line.insert("step".to_owned(), step.into());
        for (name, value) in values {
            line.insert((*name).to_owned(), Value::from(*value));
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        write(&mut self.lines, text.as_bytes())?;
        write(&mut self.events, &events::scalar_record(wall_time(), step, values))
    }

    /// Waits until everything logged is on the disk.
    ///
    /// # Errors
    /// Write errors.
    pub fn flush(&mut self) -> Result<()> {
        for (path, file) in [&self.lines, &self.events] {
            file.sync_data().map_err(|source| Error::write(path, source))?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|source| Error::read(path, source)),
    }
}

fn kept_lines(bytes: &[u8], last_step: u64) -> usize {
    let step_of = |line: &[u8]| serde_json::from_slice::<Value>(line).ok()?.get("step")?.as_u64();
    let mut kept = 0;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let complete = line.ends_with(b"\n");
        if !complete || step_of(line).is_none_or(|step| step > last_step) {
            break;
        }
        kept += line.len();
    }
    kept
}

fn kept_events(bytes: &[u8], last_step: u64) -> usize {
    let records = events::read(bytes);
    let kept = records.iter().take_while(|(_, event)| event.step <= last_step);
    kept.last().map_or(0, |(end, _)| *end)
}

fn open_cut(path: &Path, length: usize) -> Result<File> {
    let failed = |source| Error::write(path, source);
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
    file.set_len(length as u64).map_err(failed)?;
    Ok(file)
}

fn write((path, file): &mut (PathBuf, File), bytes: &[u8]) -> Result<()> {
    file.write_all(bytes).map_err(|source| Error::write(path, source))
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event_steps(folder: &Path) -> Vec<u64> {
        let bytes = fs::read(folder.join(events::FILE)).unwrap();
        events::read(&bytes).iter().map(|(_, event)| event.step).collect()
    }

    #[test]
    fn both_files_hold_what_was_logged() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = MetricsWriter::open(folder.path(), None).unwrap();
        writer.log(1, &[("loss", 2.5), ("tokens_per_second", 1e4)]).unwrap();
        writer.log(2, &[("loss", f64::NAN)]).unwrap();
        writer.flush().unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join(FILE)).unwrap(),
            "{\"step\":1,\"loss\":2.5,\"tokens_per_second\":10000.0}\n{\"step\":2,\"loss\":null}\n"
        );
        let bytes = fs::read(folder.path().join(events::FILE)).unwrap();
        let events = events::read(&bytes);
        assert_eq!(events.last().unwrap().0, bytes.len());
        assert_eq!(events[0].1.file_version, "brain.Event:2");
        assert_eq!(events[1].1.scalars[0], ("loss".to_owned(), 2.5));
    }

    #[test]
    fn resuming_drops_later_steps_and_half_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = MetricsWriter::open(folder.path(), None).unwrap();
        for step in 1..=5 {
            writer.log(step, &[("loss", step as f64)]).unwrap();
        }
        write(&mut writer.lines, b"{\"step\":6,\"lo").unwrap();
        write(&mut writer.events, &[1, 2, 3]).unwrap();
        drop(writer);

        let mut writer = MetricsWriter::open(folder.path(), Some(3)).unwrap();
        writer.log(4, &[("loss", 40.0)]).unwrap();
        drop(writer);
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(text.lines().count(), 4);
        assert!(text.ends_with("{\"step\":4,\"loss\":40.0}\n"), "{text}");
        assert_eq!(event_steps(folder.path()), [0, 1, 2, 3, 4]);

        MetricsWriter::open(folder.path(), None).unwrap();
        assert_eq!(event_steps(folder.path()), [0]);
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), "");
    }
}
