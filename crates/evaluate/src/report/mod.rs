//! Several evaluations side by side: `report.json`, a terminal table, the same in
//! Markdown, and one page of HTML that needs neither network nor script.
//!
//! Reading order: [`config`], [`provenance`], [`comparison`], `format` (numbers in
//! words), `table`, [`training`] and `curves` (losses by step), `ablation` (one student
//! trained in several ways), [`domains`] (adapters against their base), `view` (what the page
//! shows), `page`.

mod ablation;
mod axis;
pub mod chains;
pub(crate) mod chart;
pub mod comparison;
pub mod conclusion;
pub mod config;
mod curves;
pub mod domains;
pub(crate) mod format;
pub(crate) mod page;
pub mod provenance;
pub mod run_comparison;
pub mod runs;
mod summary;
mod table;
pub mod training;
pub(crate) mod view;

use std::path::{Path, PathBuf};

use limbeck_run::Manifest;
use serde::Serialize;

pub use chains::ChainQuality;
pub use comparison::Comparison;
pub use conclusion::Conclusion;
pub use config::ReportConfig;
pub use domains::DomainAdapter;
pub use provenance::Provenance;
pub use run_comparison::RunComparison;
pub use training::Training;

use self::view::View;
use crate::ablation::Ablation;
use crate::attention::AttentionMap;
use crate::evaluation::Evaluation;
use crate::folder::write_json;
use crate::{Error, Result};

/// One evaluated model of a report.
#[derive(Debug, Serialize)]
pub struct Model {
    /// Its numbers.
    pub evaluation: Evaluation,
    /// What became of the answers, and how the chains hold up.
    pub chains: ChainQuality,
    /// Where it looks while it reasons; empty where that was not measured. It stays in its own
    /// file.
    #[serde(skip)]
    pub attention: Vec<AttentionMap>,
    /// How the numbers came about, if the folder has a manifest.
    pub provenance: Option<Provenance>,
}

impl Model {
    /// Reads an evaluation folder with what lies beside the evaluation.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub fn read(folder: &Path) -> Result<Self> {
        let evaluation = Evaluation::read(folder)?;
        Ok(Self {
            chains: ChainQuality::of(&evaluation.samples),
            attention: AttentionMap::read(folder)?,
            provenance: Manifest::read(folder)?.map(Provenance::from),
            evaluation,
        })
    }
}

/// The content of a report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Heading of table and page.
    pub title: String,
    /// The models, in the order of their folders.
    pub models: Vec<Model>,
    /// Models against models, problem by problem.
    pub comparisons: Vec<Comparison>,
    /// Adapters against the base that they are for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<DomainAdapter>,
    /// Curves of training runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trainings: Vec<Training>,
    /// One student trained in several ways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ablation: Option<Ablation>,
}

impl Report {
    /// Reads evaluation folders and compares what is usually compared.
    ///
    /// # Errors
    /// As [`Self::read_with`].
    pub fn read(folders: &[PathBuf]) -> Result<Self> {
        Self::read_with(folders, &ReportConfig::default())
    }

    /// Reads evaluation folders.
    ///
    /// # Errors
    /// No folder, a missing or damaged file, two evaluations of one name, a comparison of
    /// a model that is not there.
    pub fn read_with(folders: &[PathBuf], config: &ReportConfig) -> Result<Self> {
        if folders.is_empty() {
            return Err(Error::NoEvaluations);
        }
        let mut models: Vec<Model> = Vec::with_capacity(folders.len());
        for (index, folder) in folders.iter().enumerate() {
            let model = Model::read(folder)?;
            let same = |earlier: &Model| earlier.evaluation.model == model.evaluation.model;
            if let Some(earlier) = models.iter().position(same) {
                return Err(Error::DuplicateName {
                    name: model.evaluation.model,
                    first: folders[earlier].clone(),
                    second: folders[index].clone(),
                });
            }
            models.push(model);
        }
        let evaluations: Vec<&Evaluation> = models.iter().map(|model| &model.evaluation).collect();
        let comparisons = comparison::all(&evaluations, config)?;
        Ok(Self {
            title: config.title.clone(),
            models,
            comparisons,
            domains: Vec::new(),
            trainings: Vec::new(),
            ablation: None,
        })
    }

    /// The same report with the adapters of these folders, see [`DomainAdapter`].
    ///
    /// # Errors
    /// A missing or damaged evaluation; one of a base that the report does not have.
    pub fn with_domains(mut self, folders: &[PathBuf]) -> Result<Self> {
        let models: Vec<&Evaluation> = self.models.iter().map(|model| &model.evaluation).collect();
        let seed = ReportConfig::default().seed;
        self.domains = DomainAdapter::read_all(folders, &models, seed)?;
        Ok(self)
    }

    /// The same report with the curves of these training folders.
    ///
    /// # Errors
    /// [`Error::Training`].
    pub fn with_training(mut self, folders: &[PathBuf]) -> Result<Self> {
        self.trainings = Training::read_all(folders)?;
        Ok(self)
    }

    /// The same report with an ablation, from its `ablation.json`.
    ///
    /// # Errors
    /// As [`Ablation::read`].
    pub fn with_ablation(mut self, file: &Path) -> Result<Self> {
        self.ablation = Some(Ablation::read(file)?);
        Ok(self)
    }

    /// The table for a terminal, with the comparisons below it.
    pub fn table(&self) -> String {
        table::text(self)
    }

    /// Writes `report.json`, `table.txt`, `table.md`, `summary.md` and `report.html` into a
    /// folder that exists.
    ///
    /// # Errors
    /// Write errors.
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join("report.json"), self)?;
        let files = [
            ("table.txt", self.table()),
            ("table.md", table::markdown(self)),
            ("summary.md", summary::markdown(self)),
            ("report.html", page::render("report.html", &View::new(self))?),
        ];
        for (name, content) in files {
            limbeck_run::write_file(&folder.join(name), content.as_bytes())?;
        }
        Ok(())
    }
}
