//! What the page shows, in words and places: the templates only write it down. A file for each
//! section.

mod attention;
mod chains;
mod comparisons;
mod cost;
mod headline;
mod models;
mod provenance;
mod runs;
mod samples;
mod tasks;

use std::collections::BTreeSet;

use serde::Serialize;

pub(crate) use runs::{RunView, render_runs};
pub(crate) use samples::{Limits, SamplesView};

use super::ablation::AblationView;
use super::chart::Stack;
use super::curves::CurvesView;
use super::{Report, table};
use crate::evaluation::Evaluation;

/// A place on the page that the navigation leads to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Link {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct View {
    title: String,
    scope: String,
    links: Vec<Link>,
    headline: headline::Headline,
    models: models::ModelsView,
    tasks: Option<tasks::TasksView>,
    verdicts: Stack,
    comparisons: Option<comparisons::ComparisonsView>,
    forgetting: Option<comparisons::ForgettingView>,
    chains: chains::ChainsView,
    attention: Option<attention::AttentionView>,
    ablation: Option<AblationView>,
    curves: Option<CurvesView>,
    cost: Option<cost::CostView>,
    samples: SamplesView,
    provenance: Option<provenance::ProvenanceView>,
}

impl View {
    pub(super) fn new(report: &Report) -> Self {
        let evaluations: Vec<&Evaluation> =
            report.models.iter().map(|model| &model.evaluation).collect();
        let levels: BTreeSet<u8> = evaluations
            .iter()
            .flat_map(|evaluation| evaluation.groups.iter().filter_map(|group| group.level))
            .collect();
        let levels: Vec<u8> = levels.into_iter().collect();
        let mut view = Self {
            title: report.title.clone(),
            scope: format!("{}; {}.", table::problems(report), models::generation(&evaluations)),
            links: Vec::new(),
            headline: headline::Headline::new(report),
            models: models::ModelsView::new(&evaluations, levels),
            tasks: tasks::TasksView::new(&evaluations),
            verdicts: chains::verdicts(report),
            comparisons: comparisons::ComparisonsView::new(&report.comparisons),
            forgetting: comparisons::ForgettingView::new(report),
            chains: chains::ChainsView::new(report),
            attention: attention::AttentionView::new(report),
            ablation: report.ablation.as_ref().map(AblationView::new),
            curves: CurvesView::new(&report.trainings),
            cost: cost::CostView::new(&evaluations),
            samples: SamplesView::new(&evaluations, Limits::default()),
            provenance: provenance::ProvenanceView::new(report),
        };
        view.links = view.sections();
        view
    }

    /// The sections that are there, in the order of the page.
    fn sections(&self) -> Vec<Link> {
        let sections = [
            (true, "models", "Models"),
            (self.tasks.is_some(), "tasks", "Tasks"),
            (true, "verdicts", "Verdicts"),
            (self.comparisons.is_some(), "comparisons", "Comparisons"),
            (self.forgetting.is_some(), "forgetting", "Gained and forgotten"),
            (true, "families", "Families and levels"),
            (true, "chains", "Chains"),
            (self.attention.is_some(), "attention", "Attention"),
            (self.ablation.is_some(), "ablation", "Ablation"),
            (self.curves.is_some(), "training", "Training"),
            (self.cost.is_some(), "cost", "Cost"),
            (true, "samples", "Samples"),
            (self.provenance.is_some(), "provenance", "Provenance"),
        ];
        sections
            .into_iter()
            .filter(|(there, ..)| *there)
            .map(|(_, id, title)| Link { id, title })
            .collect()
    }
}
