//! An untrained model evaluated end to end: the numbers are poor, the accounting is whole.

use limbeck_core::tokenizer_training::{TokenizerConfig, train};
use limbeck_core::{Tokenizer, test_device};
use limbeck_cot_data::{CotRecord, Family, generate};
use limbeck_evaluate::{Error, EvaluateConfig, Evaluation, evaluate};
use limbeck_infer::FinishReason;
use limbeck_model::Decoder;
use limbeck_run::{Diagnose, Exit};
use serde_json::json;
use tch::Kind;

fn records() -> Vec<CotRecord> {
    Family::CORE
        .into_iter()
        .flat_map(|family| (0..4).map(move |index| (family, index)))
        .map(|(family, index)| generate(family, 1 + (index % 2) as u8, 3, index).unwrap())
        .collect()
}

fn model(folder: &std::path::Path, vocab_size: i64) -> (Decoder, Tokenizer) {
    let records = records();
    let config = TokenizerConfig { vocab_size: 300, ..TokenizerConfig::default() };
    train(records.iter().map(|record| record.question.as_str()), &config, folder).unwrap();
    let config = json!({
        "model_type": "qwen2", "vocab_size": vocab_size, "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": true, "hidden_act": "silu",
        "initializer_range": 0.1
    });
    let decoder = Decoder::init(&config, 2, test_device(), Kind::Float).unwrap();
    decoder.save(folder, Kind::Float).unwrap();
    (decoder, Tokenizer::load(folder).unwrap())
}

fn config() -> EvaluateConfig {
    EvaluateConfig { max_new_tokens: 12, temperature: 1.0, ..EvaluateConfig::default() }
}

#[test]
fn every_record_is_answered_judged_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let (decoder, tokenizer) = model(folder.path(), 300);
    let records = records();
    let evaluation = evaluate("random", &decoder, &tokenizer, &records, &config()).unwrap();

    let ids: Vec<&str> = evaluation.samples.iter().map(|sample| sample.id.as_str()).collect();
    let expected: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, expected);
    assert_eq!(evaluation.overall.n, 12);
    assert_eq!(evaluation.groups.iter().filter(|group| group.level.is_none()).count(), 3);
    assert_eq!(evaluation.groups.len(), 9);
    for sample in &evaluation.samples {
        let cut = sample.finish_reason == FinishReason::Length;
        assert_eq!(cut, sample.reply_tokens == 12, "{sample:?}");
        assert_eq!(
            sample.reply,
            tokenizer.decode(&tokenizer.encode(&sample.reply).unwrap(), false).unwrap()
        );
    }
    let cost = &evaluation.cost;
    assert_eq!(cost.parameters, decoder.num_parameters());
    assert!(cost.weight_bytes > 4 * cost.parameters as u64);
    let stops = evaluation.samples.iter().filter(|sample| !sample.truncated()).count();
    let tokens: usize = evaluation.samples.iter().map(|sample| sample.reply_tokens).sum();
    assert_eq!(cost.generated_tokens, (tokens + stops) as u64);

    let output = tempfile::tempdir().unwrap();
    evaluation.write(output.path()).unwrap();
    assert_eq!(Evaluation::read(output.path()).unwrap(), evaluation);

    let text = std::fs::read_to_string(output.path().join("results_limbeck.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&text).unwrap();
    let task = &results["results"]["limbeck"];
    assert_eq!(task["exact_match,strict-match"], json!(evaluation.overall.accuracy.value));
    assert_eq!(results["n-samples"]["limbeck_arithmetic"]["effective"], json!(4));
    assert!(results["total_evaluation_time_seconds"].is_string());
}

#[test]
fn a_limit_and_a_batch_size_change_only_what_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let (decoder, tokenizer) = model(folder.path(), 300);
    let records = records();
    let run = |config: &EvaluateConfig| {
        evaluate("random", &decoder, &tokenizer, &records, config).unwrap().samples
    };
    let greedy = EvaluateConfig { temperature: 0.0, ..config() };
    let all = run(&greedy);
    assert_eq!(all, run(&EvaluateConfig { max_batch: 5, ..greedy.clone() }));
    let some = run(&EvaluateConfig { limit: 4, ..greedy });
    assert_eq!(some, [0, 3, 6, 9].map(|place: usize| all[place].clone()));
}

#[test]
fn records_that_cannot_be_asked_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (decoder, tokenizer) = model(folder.path(), 300);
    let mut records = records();
    let run = |records: &[CotRecord], config: &EvaluateConfig| {
        evaluate("random", &decoder, &tokenizer, records, config).unwrap_err()
    };
    assert!(matches!(run(&[], &config()), Error::NoRecords));
    let twice = [records[0].clone(), records[0].clone()];
    assert!(matches!(run(&twice, &config()), Error::DuplicateId { .. }));
    records[7].question = "9 + ".repeat(400);
    let error = run(&records[7..8], &config());
    assert!(matches!(&error, Error::NothingAnswered { id, .. } if *id == records[7].id), "{error}");
    assert_eq!(error.exit(), Exit::BadInput);
    // The others are asked all the same.
    let evaluation = evaluate("random", &decoder, &tokenizer, &records, &config()).unwrap();
    let failed: Vec<&str> = evaluation
        .samples
        .iter()
        .filter(|sample| sample.failure.is_some())
        .map(|sample| sample.id.as_str())
        .collect();
    assert_eq!(failed, [records[7].id.as_str()]);
    let (reason, count) = evaluation.tasks[0].failures.first_key_value().unwrap();
    assert!(reason.contains("max_position_embeddings of 512"), "{reason}");
    assert_eq!((*count, evaluation.overall.n), (1, 12));
    let error = run(&records[..2], &EvaluateConfig { top_p: 2.0, ..config() });
    assert_eq!(error.exit(), Exit::Usage);

    let folder = tempfile::tempdir().unwrap();
    let (decoder, tokenizer) = model(folder.path(), 200);
    let error = evaluate("small", &decoder, &tokenizer, &records[..2], &config()).unwrap_err();
    assert!(matches!(error, Error::Core(_)), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn damaged_folders_name_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let (decoder, tokenizer) = model(folder.path(), 300);
    let evaluation = evaluate("random", &decoder, &tokenizer, &records(), &config()).unwrap();
    let output = tempfile::tempdir().unwrap();
    let error = Evaluation::read(output.path()).unwrap_err().to_string();
    assert!(error.contains("evaluation.json"), "{error}");

    evaluation.write(output.path()).unwrap();
    let path = output.path().join("samples.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 40]).unwrap();
    let error = Evaluation::read(output.path()).unwrap_err().to_string();
    assert!(error.contains("samples.jsonl:12: expected a judged reply"), "{error}");

    let short: Vec<&str> = text.lines().take(5).collect();
    std::fs::write(&path, short.join("\n")).unwrap();
    let error = Evaluation::read(output.path()).unwrap_err();
    assert!(error.to_string().contains("of 5"), "{error}");
    assert_eq!(error.exit(), Exit::BadInput);

    let first = text.lines().next().unwrap();
    std::fs::write(&path, format!("{text}{first}\n")).unwrap();
    let error = Evaluation::read(output.path()).unwrap_err().to_string();
    assert!(error.contains("again in line 13"), "{error}");
}
