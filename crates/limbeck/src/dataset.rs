//! Records as training examples.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use limbeck_core::{Message, Tokenizer};
use limbeck_cot_data::{CotRecord, Label};
use limbeck_train::{Completion, Example, TokenWeights, TrainConfig, questions};
use rayon::prelude::*;

use crate::corrected::CorrectedChain;

/// The files of a data folder.
pub(crate) struct DataFolder {
    pub(crate) train: PathBuf,
    pub(crate) validation: PathBuf,
    negatives: PathBuf,
}

impl DataFolder {
    /// `train.jsonl` and `validation.jsonl` of a folder made by `limbeck data build`, or
    /// one JSONL file without validation records.
    pub(crate) fn new(path: &Path) -> Self {
        if path.is_dir() {
            let file = |name| path.join(name);
            Self {
                train: file("train.jsonl"),
                validation: file("validation.jsonl"),
                negatives: file("negatives.jsonl"),
            }
        } else {
            let none = PathBuf::new;
            Self { train: path.to_owned(), validation: none(), negatives: none() }
        }
    }

    /// The files that training with this configuration reads, by what they are called in the
    /// manifest.
    pub(crate) fn inputs(&self, config: &TrainConfig) -> Result<Vec<(&'static str, &Path)>> {
        let mut inputs = vec![("train", self.train.as_path())];
        if config.questions.corrected_chains {
            let data_folder = !self.negatives.as_os_str().is_empty();
            if !self.negatives.exists() {
                let path = if data_folder { &self.negatives } else { &self.train };
                return Err(limbeck_core::Error::Json {
                    path: path.clone(),
                    expected: "a data folder with negatives.jsonl, as questions.corrected_chains \
                               needs and [data] num_negatives makes"
                        .to_owned(),
                    found: "none".to_owned(),
                }
                .into());
            }
            inputs.push(("negatives", &self.negatives));
        }
        Ok(inputs)
    }

    /// As [`DataFolder::read`], with the negatives among the training records where the
    /// configuration asks for them.
    pub(crate) fn read_for(
        &self,
        config: &TrainConfig,
    ) -> Result<(Vec<CotRecord>, Vec<CotRecord>)> {
        let (mut train, validation) = self.read()?;
        if config.questions.corrected_chains {
            let negatives = limbeck_cot_data::read_jsonl(&self.negatives);
            train.extend(negatives.context("negatives")?);
        }
        Ok((train, validation))
    }

    /// The training and the validation records; validation may be absent.
    pub(crate) fn read(&self) -> Result<(Vec<CotRecord>, Vec<CotRecord>)> {
        let train = limbeck_cot_data::read_jsonl(&self.train).context("training data")?;
        let validation = if self.validation.exists() {
            limbeck_cot_data::read_jsonl(&self.validation).context("validation data")?
        } else {
            Vec::new()
        };
        Ok((train, validation))
    }
}

/// Renders the training records, leaving out (and counting) those longer than
/// `config.max_length` and those whose label says that they are wrong. A corrected record is
/// its wrong chain put right, see [`CorrectedChain`]; one without a chain, or that
/// `answer_only` names by id, is an answer at once. A mix by kind has the others in both
/// forms.
pub(crate) fn examples(
    tokenizer: &Tokenizer,
    records: &[CotRecord],
    config: &TrainConfig,
    answer_only: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Vec<Example>> {
    let usable: Vec<&CotRecord> =
        records.iter().filter(|record| !matches!(record.label, Label::Wrong { .. })).collect();
    let wrong = records.len() - usable.len();
    if wrong > 0 {
        tracing::warn!(wrong, of = records.len(), "records left out as their chain is wrong");
    }
    let both = config.mix.renders_both_forms();
    let forms = |record: &CotRecord| -> Vec<Form> {
        match (record.thought_process.is_empty(), both) {
            (true, _) => vec![Form::Answer],
            (false, true) => vec![Form::Corrected, Form::Answer],
            (false, false) if answer_only(&record.id) => vec![Form::Answer],
            (false, false) => vec![Form::Corrected],
        }
    };
    let mut examples = render(tokenizer, &usable, config, &config.weights, &forms)?;
    questions::balance(&mut examples, &config.questions);
    Ok(examples)
}

/// Renders the validation records: all of them, once each, by their right chain and with even
/// weights, so that losses of two runs can be compared whatever they train on.
pub(crate) fn validation_examples(
    tokenizer: &Tokenizer,
    records: &[CotRecord],
    config: &TrainConfig,
    answer_only: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Vec<Example>> {
    let records: Vec<&CotRecord> = records.iter().collect();
    let forms = |record: &CotRecord| {
        let is_task = record.thought_process.is_empty() || answer_only(&record.id);
        vec![if is_task { Form::Answer } else { Form::Chain }]
    };
    render(tokenizer, &records, config, &TokenWeights::default(), &forms)
}

/// What of a record becomes the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The chain of a record, and the answer.
    Chain,
    /// As [`Form::Chain`], but a corrected record goes wrong first.
    Corrected,
    /// The answer at once.
    Answer,
}

/// On all cores: a template and a tokenizer take a third of a millisecond for each.
fn render(
    tokenizer: &Tokenizer,
    records: &[&CotRecord],
    config: &TrainConfig,
    weights: &TokenWeights,
    forms: &(dyn Fn(&CotRecord) -> Vec<Form> + Sync),
) -> Result<Vec<Example>> {
    let max_length = config.max_length;
    let render = |record: &CotRecord, form: Form| {
        let (reasoning, answer) = (record.reasoning(), record.answer.as_str());
        let corrected = CorrectedChain::of(record).filter(|_| form == Form::Corrected);
        let completion = match &corrected {
            _ if form == Form::Answer => Completion::AnswerOnly { answer },
            None => Completion::Chain { reasoning: &reasoning, answer },
            Some(CorrectedChain { before, wrong, after }) => {
                Completion::Corrected { before, wrong, after, answer }
            }
        };
        let prompt = [Message::user(record.question.as_str())];
        match Example::render(tokenizer, &record.id, &prompt, completion, max_length, weights) {
            Ok(mut example) => {
                example.traits.question.clone_from(&record.question);
                example.traits.domain.clone_from(&record.domain);
                example.traits.difficulty = record.difficulty;
                Ok(Some(example))
            }
            Err(limbeck_train::Error::EmptyMask { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    let all = |record: &&CotRecord| -> Result<Vec<Option<Example>>> {
        forms(record).into_iter().map(|form| render(record, form)).collect()
    };
    let rendered: Vec<Vec<Option<Example>>> = records.par_iter().map(all).collect::<Result<_>>()?;
    let rendered: Vec<Option<Example>> = rendered.into_iter().flatten().collect();
    let of = rendered.len();
    let examples: Vec<Example> = rendered.into_iter().flatten().collect();
    let too_long = of - examples.len();
    if too_long > 0 {
        tracing::warn!(too_long, of, max_length, "records left out as too long or without weight");
    }
    Ok(examples)
}

#[cfg(test)]
mod tests {
    use limbeck_core::tokenizer_training::{TokenizerConfig, train};
    use limbeck_train::Kind;
    use limbeck_train::mix::MixConfig;
    use limbeck_train::questions::QuestionsConfig;

    use super::*;

    fn tokenizer() -> (tempfile::TempDir, Tokenizer) {
        let folder = tempfile::tempdir().unwrap();
        let config = TokenizerConfig { vocab_size: 280, ..TokenizerConfig::default() };
        train(["2 + 3 = 5 and so on"].into_iter(), &config, folder.path()).unwrap();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        (folder, tokenizer)
    }

    fn record(id: &str, question: &str, label: Label) -> CotRecord {
        CotRecord {
            id: id.to_owned(),
            question: question.to_owned(),
            thought_process: vec!["2 + 3 = 5".to_owned(), "5 + 1 = 6".to_owned()],
            answer: "6".to_owned(),
            domain: "arithmetic".to_owned(),
            difficulty: 2,
            label,
            ..CotRecord::default()
        }
    }

    fn records() -> Vec<CotRecord> {
        let corrected = Label::Corrected {
            wrong_thought_process: vec!["2 + 3 = 5".to_owned(), "5 + 1 = 7".to_owned()],
            first_wrong_step: 1,
            correction: "not `5 + 1 = 7` but `5 + 1 = 6`".to_owned(),
        };
        let wrong = Label::Wrong { first_wrong_step: 1, error: "off_by_one".to_owned() };
        let bare = CotRecord { thought_process: vec![], ..record("bare", "Q", Label::Correct) };
        vec![
            record("right", "2 + 3 + 1?", Label::Correct),
            record("corrected", "2 + 3 + 1?", corrected),
            record("wrong", "2 + 3 + 1?", wrong),
            bare,
        ]
    }

    fn rendered(config: &TrainConfig, answer_only: &str) -> Vec<Example> {
        let (_folder, tokenizer) = tokenizer();
        examples(&tokenizer, &records(), config, &|id| id == answer_only).unwrap()
    }

    fn kinds(examples: &[Example]) -> Vec<(&str, Kind)> {
        examples.iter().map(|example| (example.id.as_str(), example.traits.kind)).collect()
    }

    #[test]
    fn wrong_records_are_left_out_and_corrected_ones_go_wrong_unlearned() {
        let (_folder, tokenizer) = tokenizer();
        let found = rendered(&TrainConfig::default(), "");
        let chain = Kind::Chain;
        let expected = [("right", chain), ("corrected", chain), ("bare", Kind::Task)];
        assert_eq!(kinds(&found), expected);
        let corrected = &found[1];
        let learned: Vec<i64> = corrected
            .tokens
            .iter()
            .zip(&corrected.weights)
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(token, _)| *token)
            .collect();
        assert_eq!(
            tokenizer.decode(&learned, false).unwrap(),
            "<think>\n2 + 3 = 5\n\nnot `5 + 1 = 7` but `5 + 1 = 6`\n</think>\n\n6<|im_end|>"
        );
        let traits = &corrected.traits;
        assert_eq!((traits.domain.as_str(), traits.difficulty), ("arithmetic", 2));
    }

    #[test]
    fn a_mix_by_kind_has_both_forms_and_else_the_stage_says() {
        let mix = MixConfig { task_share: Some(0.5), ..MixConfig::default() };
        let config = TrainConfig { mix: mix.clone(), ..TrainConfig::default() };
        let (chain, task) = (Kind::Chain, Kind::Task);
        let both = [
            ("right", chain),
            ("right", task),
            ("corrected", chain),
            ("corrected", task),
            ("bare", task),
        ];
        assert_eq!(kinds(&rendered(&config, "right")), both);
        let mix = MixConfig { both_forms: false, ..mix };
        let config = TrainConfig { mix, ..TrainConfig::default() };
        let one = [("right", task), ("corrected", chain), ("bare", task)];
        assert_eq!(kinds(&rendered(&config, "right")), one);
    }

    #[test]
    fn chains_of_one_question_share_its_weight() {
        let questions = QuestionsConfig { balance_questions: true, ..QuestionsConfig::default() };
        let config = TrainConfig { questions, ..TrainConfig::default() };
        let highest = |example: &Example| example.weights.iter().copied().fold(0.0, f32::max);
        let found: Vec<f32> = rendered(&config, "").iter().map(highest).collect();
        assert_eq!(found, [0.5, 0.5, 1.0]);
    }

    #[test]
    fn validation_has_every_record_once_with_even_weights() {
        let (_folder, tokenizer) = tokenizer();
        let weights = TokenWeights { reasoning: 0.5, answer: 3.0, ..TokenWeights::default() };
        let mix = MixConfig { task_share: Some(0.5), ..MixConfig::default() };
        let questions = QuestionsConfig { balance_questions: true, ..QuestionsConfig::default() };
        let config = TrainConfig { weights, mix, questions, ..TrainConfig::default() };
        let found = validation_examples(&tokenizer, &records(), &config, &|_| false).unwrap();
        let ids: Vec<&str> = found.iter().map(|example| example.id.as_str()).collect();
        assert_eq!(ids, ["right", "corrected", "wrong", "bare"]);
        assert!(found.iter().flat_map(|example| &example.weights).all(|w| [0.0, 1.0].contains(w)));
        assert_eq!(found[0].tokens, found[1].tokens, "the right chain of a corrected record");
    }
}
