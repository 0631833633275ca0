//! Runs the stages that are not up to date, one process each, and says what it did.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Result;
use limbeck_run::{Error, Exit, Manifest};
use serde_json::{Value, json};

use crate::child;
use crate::failure::Failure;
use crate::pipeline::fingerprint::fingerprint;
use crate::pipeline::graph::{Input, Stage};

/// What a run is made with.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    /// The `limbeck` program.
    pub(crate) program: PathBuf,
    /// What it calls itself.
    pub(crate) version: String,
    /// Where it runs.
    pub(crate) folder: PathBuf,
    /// The resolved configuration.
    pub(crate) config: Value,
    /// The sources' commit, for the manifests, where it is known.
    pub(crate) commit: Option<String>,
    /// Threads of each process, where not all cores are its own.
    pub(crate) threads: Option<usize>,
    /// The file that gets what the processes say, where several run at once.
    pub(crate) log: Option<PathBuf>,
}

/// What became of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// It ran to its end.
    Ran,
    /// Its output was there already.
    Skipped,
}

/// One line of the summary.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) label: &'static str,
    pub(crate) status: Status,
    pub(crate) seconds: f64,
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) fingerprint: String,
}

impl Outcome {
    /// For `--json`.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "stage": self.label,
            "status": if self.status == Status::Ran { "ran" } else { "skipped" },
            "seconds": self.seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
            "fingerprint": self.fingerprint,
        })
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        let memory = match self.peak_memory_bytes {
            Some(bytes) if self.status == Status::Ran => format!("{:.0} MB", bytes as f64 / 1e6),
            _ => String::new(),
        };
        let status = if self.status == Status::Ran { "ran" } else { "up to date" };
        let line = format!("{:20} {status:10} {:8.1} s {memory:>9}", self.label, self.seconds);
        line.trim_end().to_owned()
    }
}

impl Runner {
    /// Runs what is not up to date, in order.
    ///
    /// # Errors
    /// An input that is not there, a stage that fails (with its exit code), or one that
    /// leaves no manifest with its fingerprint.
    pub(crate) fn run(&self, stages: &[Stage]) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for stage in stages {
            let outcome = self.run_one(stage)?;
            eprintln!("{}", outcome.line());
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// Runs a stage if it is not up to date.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub(crate) fn run_one(&self, stage: &Stage) -> Result<Outcome> {
        let started = Instant::now();
        let fingerprint = self.fingerprint_of(stage)?;
        let mut status = Status::Skipped;
        let mut manifest = finished(&stage.output, &fingerprint)?;
        if manifest.is_none() {
            status = Status::Ran;
            let mut command = Command::new(&self.program);
            command.current_dir(&self.folder).args(&stage.argv);
            command.args(["--fingerprint", &fingerprint]);
            if let Some(commit) = &self.commit {
                command.env("LIMBECK_COMMIT", commit);
            }
            // What a stage has to say goes to stderr; its result is the folder.
            command.stdout(Stdio::null());
            if let Some(threads) = self.threads {
                command.args(["--threads", &threads.to_string()]);
            }
            if let Some(log) = &self.log {
                let file = File::options().create(true).append(true).open(log);
                command.stderr(file.map_err(|source| Error::write(log, source))?);
            }
            child::run(&format!("stage {}", stage.label), &mut command)?;
            manifest = finished(&stage.output, &fingerprint)?;
        }
        let manifest = manifest.ok_or_else(|| {
            let place = stage.output.display();
            Failure::new(
                Exit::Failed,
                format!("stage {} ended well but {place} holds no manifest of it", stage.label),
            )
        })?;
        Ok(Outcome {
            label: stage.label,
            status,
            seconds: started.elapsed().as_secs_f64(),
            peak_memory_bytes: manifest.peak_memory_bytes,
            fingerprint,
        })
    }

    /// What [`Runner::run`] would do, a line for each stage, without doing it.
    pub(crate) fn plan(&self, stages: &[Stage]) -> Result<Vec<String>> {
        // A stage that will run may change what later ones read; until it has run, only
        // its own readers are known to be affected.
        let mut stale: Vec<&Path> = Vec::new();
        let mut lines = Vec::new();
        for stage in stages {
            let reads_stale = stage
                .inputs
                .iter()
                .any(|input| stale.iter().any(|output| input.path.starts_with(output)));
            let up_to_date = !reads_stale
                && stage.inputs.iter().all(|input| input.path.exists())
                && finished(&stage.output, &self.fingerprint_of(stage)?)?.is_some();
            if !up_to_date {
                stale.push(&stage.output);
            }
            let what = if up_to_date { "up to date" } else { "would run" };
            lines.push(format!("{:20} {what:10} limbeck {}", stage.label, stage.argv.join(" ")));
        }
        Ok(lines)
    }

    fn fingerprint_of(&self, stage: &Stage) -> Result<String> {
        if let Some(input) = stage.inputs.iter().find(|input| !input.path.exists()) {
            return Err(missing(stage, input).into());
        }
        fingerprint(stage, &self.config, &self.version, &self.folder)
    }
}

/// What no stage makes must be there before any runs.
pub(crate) fn check_teacher(stages: &[Stage]) -> Result<()> {
    for stage in stages {
        let teacher = stage.inputs.iter().find(|input| input.word.starts_with("{teacher}"));
        if let Some(input) = teacher
            && !input.path.exists()
        {
            return Err(missing(stage, input).into());
        }
    }
    Ok(())
}

fn missing(stage: &Stage, input: &Input) -> Failure {
    let message = format!("stage {} needs {}, which is not there", stage.label, input.name);
    Failure::new(Exit::BadInput, message).hint(if input.word.starts_with("{teacher}") {
        "set pipeline.teacher to the folder of a model, or run cargo xtask teacher"
    } else {
        "run the pipeline without --from"
    })
}

/// The manifest of an output that carries the fingerprint and has all its files.
fn finished(output: &Path, fingerprint: &str) -> Result<Option<Manifest>> {
    let manifest = match Manifest::read(output) {
        Ok(manifest) => manifest,
        // A damaged one says nothing about the output: the stage runs again.
        Err(limbeck_run::Error::Json { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(manifest.filter(|manifest| {
        manifest.fingerprint == fingerprint
            && manifest.outputs.keys().all(|name| output.join(name).exists())
    }))
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;
    use crate::commands::Row;
    use crate::failure::diagnose;
    use crate::pipeline::graph::{Context, stages};
    use crate::pipeline::settings::Settings;

    const ROWS: &[Row] = &[
        Row {
            stage: "data",
            label: "data",
            table: Some("data"),
            line: "data build --config {config} --output {run}/data",
        },
        Row {
            stage: "distill",
            label: "distill",
            table: Some("distill"),
            line: "distill --config {config} --data {run}/data --output {run}/distilled",
        },
        Row {
            stage: "report",
            label: "report",
            table: None,
            line: "report --input {run}/distilled --output {run}/report",
        },
    ];

    /// Stands in for limbeck: notes its first argument, and writes a manifest with the
    /// fingerprint and one file whose content is that of the file `content` beside it.
    const SCRIPT: &str = r#"
echo "$1" >> log
test -e "fail-$1" && exit 3
while [ $# -gt 0 ]; do
    case "$1" in --output) output=$2 ;; --fingerprint) fingerprint=$2 ;; esac
    shift
done
mkdir -p "$output"
cp content "$output/file"
hash=$(sha256sum < content | cut -d' ' -f1)
printf '{"fingerprint":"%s","outputs":{"file":"%s"}}' "$fingerprint" "$hash" > "$output/manifest.json"
"#;

    struct Run {
        folder: tempfile::TempDir,
        runner: Runner,
    }

    impl Run {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("limbeck.sh"), SCRIPT).unwrap();
            fs::write(folder.path().join("content"), "content").unwrap();
            let runner = Runner {
                program: "sh".into(),
                version: "limbeck 0.1.0".to_owned(),
                folder: folder.path().to_owned(),
                config: json!({ "data": { "count": 1 }, "distill": { "steps": 1 } }),
                commit: None,
                threads: None,
                log: None,
            };
            Self { folder, runner }
        }

        fn stages(&self) -> Vec<Stage> {
            let settings = Settings { output: "run".to_owned(), ..Settings::default() };
            let context = Context::new(self.folder.path(), settings);
            let mut stages = stages(ROWS, &context);
            for stage in &mut stages {
                stage.argv.insert(0, "limbeck.sh".to_owned());
            }
            stages
        }

        /// Runs and gives what was started.
        fn started(&self) -> String {
            let log = self.folder.path().join("log");
            fs::write(&log, "").unwrap();
            let outcomes = self.runner.run(&self.stages()).unwrap();
            let ran = outcomes.iter().filter(|outcome| outcome.status == Status::Ran).count();
            let started = fs::read_to_string(&log).unwrap();
            assert_eq!(started.lines().count(), ran);
            started.split_whitespace().collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn a_second_run_starts_nothing() {
        let run = Run::new();
        assert_eq!(run.started(), "data distill report");
        assert_eq!(run.started(), "");
    }

    #[test]
    fn a_change_starts_its_stage_and_what_it_changed() {
        let mut run = Run::new();
        run.started();
        run.runner.config["distill"]["steps"] = 2.into();
        fs::write(run.folder.path().join("content"), "other").unwrap();
        assert_eq!(run.started(), "distill report");
        // The same output as before: what reads it is still good.
        run.runner.config["data"]["count"] = 2.into();
        fs::write(run.folder.path().join("content"), "content").unwrap();
        assert_eq!(run.started(), "data");
        run.runner.version = "limbeck 0.2.0".to_owned();
        assert_eq!(run.started(), "data distill report");
    }

    #[test]
    fn a_lost_file_or_a_damaged_manifest_starts_the_stage() {
        let run = Run::new();
        run.started();
        fs::remove_file(run.folder.path().join("run/distilled/file")).unwrap();
        assert_eq!(run.started(), "distill");
        fs::write(run.folder.path().join("run/report/manifest.json"), "{").unwrap();
        assert_eq!(run.started(), "report");
    }

    #[test]
    fn a_failed_stage_ends_the_run_with_its_code_and_is_tried_again() {
        let run = Run::new();
        let switch = run.folder.path().join("fail-distill");
        fs::write(&switch, "").unwrap();
        let error = run.runner.run(&run.stages()).unwrap_err();
        assert_eq!(error.to_string(), "stage distill failed with exit code 3");
        assert_eq!(diagnose(&error).0, 3);
        fs::remove_file(&switch).unwrap();
        assert_eq!(run.started(), "distill report");
    }

    #[test]
    fn threads_and_log_are_not_part_of_what_is_made() {
        let mut run = Run::new();
        run.started();
        run.runner.threads = Some(1);
        let log = run.folder.path().join("log.txt");
        run.runner.log = Some(log.clone());
        assert_eq!(run.started(), "");
        fs::write(run.folder.path().join("fail-distill"), "").unwrap();
        fs::remove_file(run.folder.path().join("run/distilled/file")).unwrap();
        run.runner.run(&run.stages()).unwrap_err();
        assert!(log.is_file());
    }

    #[test]
    fn a_missing_input_is_named() {
        let run = Run::new();
        let error = run.runner.run(&run.stages()[1..]).unwrap_err();
        assert_eq!(error.to_string(), "stage distill needs run/data, which is not there");
        assert_eq!(diagnose(&error).0, 3);
    }

    #[test]
    fn the_plan_foresees_what_runs() {
        let mut run = Run::new();
        let plan = |run: &Run| -> Vec<bool> {
            let lines = run.runner.plan(&run.stages()).unwrap();
            lines.iter().map(|line| line.contains("would run")).collect()
        };
        assert_eq!(plan(&run), [true, true, true]);
        assert!(!run.folder.path().join("run").exists());
        run.started();
        assert_eq!(plan(&run), [false, false, false]);
        run.runner.config["distill"]["steps"] = 2.into();
        assert_eq!(plan(&run), [false, true, true]);
    }
}
