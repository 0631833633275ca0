//! The numbers of an evaluation in the shape of lm-eval's `results_*.json` (0.4), so that
//! tools which read those read ours.
//!
//! The families are the tasks of a group `limbeck`; tasks with filters or choices stand beside it
//! under their own names. Only what was measured is there. The group's metric
//! `exact_match,strict-match` compares the text after the chain with the record's
//! answer; unlike gsm8k's filter of that name it looks for no `####`.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::evaluation::Evaluation;
use crate::scores::{Scores, TaskScores};
use crate::statistics::Proportion;

const GROUP: &str = "limbeck";
const FILTER: &str = "strict-match";
/// The one figure that is better when it is lower.
const FALSE_ALARMS: &str = "false_positive_rate";

/// The content of `results_limbeck.json`.
pub fn results(evaluation: &Evaluation) -> Value {
    let families = evaluation.groups.iter().filter(|group| group.level.is_none());
    let mut tasks: Vec<(String, &str, &Scores)> =
        vec![(GROUP.to_owned(), GROUP, &evaluation.overall)];
    for group in families {
        tasks.push((format!("{GROUP}_{}", group.family), &group.family, &group.scores));
    }
    let mut results = Map::new();
    let mut configs = Map::new();
    let mut versions = Map::new();
    let mut num_shots = Map::new();
    let mut higher_is_better = Map::new();
    let mut num_samples = Map::new();
    let config = &evaluation.config;
    let generation = json!({
        "do_sample": config.temperature > 0.0,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "max_gen_toks": config.max_new_tokens,
    });
    for (task, alias, scores) in &tasks {
        results.insert(task.clone(), task_results(task, alias, scores));
        configs.insert(
            task.clone(),
            json!({
                "task": task,
                "output_type": "generate_until",
                "num_fewshot": 0,
                "repeats": 1,
                "generation_kwargs": generation,
                "metric_list": [
                    { "metric": "exact_match", "aggregation": "mean", "higher_is_better": true },
                    { "metric": "cot_completion", "aggregation": "mean", "higher_is_better": true },
                ],
            }),
        );
        versions.insert(task.clone(), json!(1.0));
        num_shots.insert(task.clone(), json!(0));
        higher_is_better.insert(
            task.clone(),
            json!({ "exact_match": true, "cot_completion": true, "truncation": false }),
        );
        num_samples.insert(task.clone(), json!({ "original": scores.n, "effective": scores.n }));
    }
    for task in evaluation.tasks.iter().filter(|task| !task.metrics.is_empty()) {
        let (name, n) = (&task.task, task.scores.n);
        results.insert(name.clone(), own_results(task));
        let metrics: BTreeSet<&str> =
            task.metrics.keys().map(|key| key.split(',').next().unwrap_or(key)).collect();
        let better = |metric: &&str| (metric.to_string(), json!(*metric != FALSE_ALARMS));
        let higher: Map<String, Value> = metrics.iter().map(better).collect();
        let listed: Vec<Value> = metrics
            .iter()
            .map(|metric| json!({ "metric": metric, "higher_is_better": higher[*metric] }))
            .collect();
        configs.insert(
            name.clone(),
            json!({ "task": name, "metric_list": listed, "generation_kwargs": generation }),
        );
        versions.insert(name.clone(), json!(1.0));
        higher_is_better.insert(name.clone(), Value::Object(higher));
        num_samples.insert(name.clone(), json!({ "original": n + task.skipped, "effective": n }));
    }
    let subtasks: Vec<&str> = tasks.iter().skip(1).map(|(task, ..)| task.as_str()).collect();
    let date = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    json!({
        "results": results,
        "group_subtasks": { GROUP: subtasks },
        "configs": configs,
        "versions": versions,
        "n-shot": num_shots,
        "higher_is_better": higher_is_better,
        "n-samples": num_samples,
        "config": {
            "model": "limbeck",
            "model_args": { "name": evaluation.model },
            "model_num_parameters": evaluation.cost.parameters,
            "batch_size": config.max_batch,
            "limit": if config.limit == 0 { Value::Null } else { json!(config.limit) },
            "gen_kwargs": generation,
            "random_seed": config.seed,
        },
        "date": date,
        "model_source": "limbeck",
        "model_name": evaluation.model,
        "chat_template_sha": evaluation.chat_template_sha256,
        // A string in lm-eval too.
        "total_evaluation_time_seconds": evaluation.cost.seconds.to_string(),
    })
}

/// What a task has of its own, under lm-eval's names where it has them.
fn own_results(task: &TaskScores) -> Value {
    let mut entry = Map::new();
    entry.insert("name".to_owned(), json!(task.task));
    entry.insert("alias".to_owned(), json!(task.task));
    entry.insert("sample_len".to_owned(), json!(task.scores.n));
    for (key, estimate) in &task.metrics {
        entry.insert(key.clone(), json!(estimate.value));
        let (metric, filter) = key.split_once(',').unwrap_or((key, "none"));
        let error = estimate.standard_error.map_or(json!("N/A"), |error| json!(error));
        entry.insert(format!("{metric}_stderr,{filter}"), error);
    }
    Value::Object(entry)
}

fn task_results(task: &str, alias: &str, scores: &Scores) -> Value {
    let mut entry = Map::new();
    entry.insert("name".to_owned(), json!(task));
    entry.insert("alias".to_owned(), json!(alias));
    entry.insert("sample_len".to_owned(), json!(scores.n));
    let mut put = |metric: &str, proportion: &Proportion| {
        entry.insert(format!("{metric},{FILTER}"), json!(proportion.value));
        let error = proportion.standard_error().map_or(json!("N/A"), |error| json!(error));
        entry.insert(format!("{metric}_stderr,{FILTER}"), error);
    };
    put("exact_match", &scores.accuracy);
    put("cot_completion", &scores.cot_completion);
    put("truncation", &scores.truncation);
    Value::Object(entry)
}
