//! The command lines of the stages, in one place.
//!
//! `{run}` is the run's folder, `{teacher}` the teacher's, `{data}` that of the data where it
//! is outside the run, `{config}` the stage's table of the resolved configuration as a file;
//! `{name}`, `{seed}`, `{device}` and `{dtype}` are those of `[pipeline]`.
//! `--fingerprint HEX` is appended to each. What a command reads is every `{run}`, `{teacher}`
//! and `{data}` path of its line but the ones after `--output` and `--registry`: what stands in
//! a registry beside the one that is published makes no difference.

/// One process of a stage.
#[derive(Debug)]
pub(crate) struct Row {
    /// What `--from` and `--to` name.
    pub(crate) stage: &'static str,
    /// The process's own name, as reported; a stage may have several.
    pub(crate) label: &'static str,
    /// The table of the configuration that it takes, if it takes one.
    pub(crate) table: Option<&'static str>,
    /// The arguments after `limbeck`.
    pub(crate) line: &'static str,
}

const fn row(
    stage: &'static str,
    label: &'static str,
    table: Option<&'static str>,
    line: &'static str,
) -> Row {
    Row { stage, label, table, line }
}

/// `cargo xtask pipeline`.
#[rustfmt::skip]
pub(crate) const PIPELINE: &[Row] = &[
    row("data", "data", Some("data"),
        "data build --config {config} --seed {seed} --output {run}/data"),
    row("baseline", "baseline", Some("distill"),
        "distill --without-teacher --config {config} --teacher {teacher} --data {run}/data \
         --seed {seed} --device {device} --output {run}/baseline"),
    row("distill", "distill", Some("distill"),
        "distill --config {config} --teacher {teacher} --data {run}/data \
         --seed {seed} --device {device} --output {run}/distilled"),
    row("lora", "lora", Some("lora"),
        "lora train --config {config} --model {run}/distilled --data {run}/data \
         --seed {seed} --device {device} --output {run}/adapter"),
    row("lora", "data medical", Some("domain_data"),
        "data build --config {config} --set families=[\"medical\"] --seed {seed} \
         --output {run}/domains/medical/data"),
    row("lora", "lora medical", Some("domain_lora"),
        "lora train --config {config} --model {run}/distilled --data {run}/domains/medical/data \
         --replay {run}/data --seed {seed} --device {device} --output {run}/domains/medical/adapter"),
    row("lora", "data legal", Some("domain_data"),
        "data build --config {config} --set families=[\"legal\"] --seed {seed} \
         --output {run}/domains/legal/data"),
    row("lora", "lora legal", Some("domain_lora"),
        "lora train --config {config} --model {run}/distilled --data {run}/domains/legal/data \
         --replay {run}/data --seed {seed} --device {device} --output {run}/domains/legal/adapter"),
    row("lora", "data finance", Some("domain_data"),
        "data build --config {config} --set families=[\"finance\"] --seed {seed} \
         --output {run}/domains/finance/data"),
    row("lora", "lora finance", Some("domain_lora"),
        "lora train --config {config} --model {run}/distilled --data {run}/domains/finance/data \
         --replay {run}/data --seed {seed} --device {device} --output {run}/domains/finance/adapter"),
    row("merge", "merge", None,
        "lora merge --model {run}/distilled --adapter {run}/adapter --output {run}/tuned"),
    row("quantize", "quantize", Some("quantize"),
        "quantize --config {config} --model {run}/tuned --calibration {run}/data/train.jsonl \
         --gate {run}/data/validation.jsonl --seed {seed} --device {device} --output {run}/quantized"),
    row("quantize", "quantize awq", Some("quantize"),
        "quantize --config {config} --method awq --format gptq_v2 --model {run}/tuned \
         --calibration {run}/data/train.jsonl --gate {run}/data/validation.jsonl \
         --seed {seed} --device {device} --output {run}/quantized-awq"),
    row("quantize", "quantize 8 bits", Some("quantize"),
        "quantize --config {config} --bits 8 --set repair.steps=0 --model {run}/tuned \
         --calibration {run}/data/train.jsonl --gate {run}/data/validation.jsonl \
         --seed {seed} --device {device} --output {run}/quantized-8bit"),
    row("evaluate", "evaluate teacher", Some("evaluate"),
        "evaluate --config {config} --model {teacher} --name teacher --task {run}/data/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/teacher"),
    row("evaluate", "evaluate baseline", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --model {run}/baseline --name baseline --task {run}/data/test.jsonl \
         --teacher {teacher} \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/baseline"),
    row("evaluate", "evaluate distilled", Some("evaluate"),
        "evaluate --config {config} --model {run}/distilled --name distilled --task {run}/data/test.jsonl \
         --teacher {teacher} \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/distilled"),
    row("evaluate", "evaluate tuned", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --model {run}/distilled --adapter {run}/adapter --name tuned \
         --task {run}/data/test.jsonl \
         --teacher {teacher} \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/tuned"),
    row("evaluate", "evaluate merged", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --model {run}/tuned --name merged --task {run}/data/test.jsonl \
         --teacher {teacher} \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/merged"),
    row("evaluate", "evaluate quantized", Some("evaluate"),
        "evaluate --config {config} --model {run}/quantized --name gptq-4bit --against {run}/tuned --against-name merged \
         --task {run}/data/test.jsonl \
         --teacher {teacher} \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/quantized"),
    row("evaluate", "evaluate awq", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --model {run}/quantized-awq --name awq-4bit --against {run}/tuned --against-name merged \
         --task {run}/data/test.jsonl \
         --teacher {teacher} \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/quantized-awq"),
    row("evaluate", "evaluate 8 bits", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --model {run}/quantized-8bit --name gptq-8bit --against {run}/tuned --against-name merged \
         --task {run}/data/test.jsonl \
         --teacher {teacher} \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/quantized-8bit"),
    row("evaluate", "evaluate medical before", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --set loads.batches=[] \
         --model {run}/distilled --name distilled --task {run}/domains/medical/data/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/medical/before"),
    row("evaluate", "evaluate medical", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --set loads.batches=[] \
         --model {run}/distilled --adapter {run}/domains/medical/adapter \
         --name medical --task {run}/domains/medical/data/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/medical/after"),
    row("evaluate", "evaluate medical on base", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --set loads.batches=[] \
         --model {run}/distilled --adapter {run}/domains/medical/adapter \
         --name medical --task {run}/data/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/medical/base-task"),
    row("evaluate", "evaluate legal before", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --set loads.batches=[] \
         --model {run}/distilled --name distilled --task {run}/domains/legal/data/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/legal/before"),
    row("evaluate", "evaluate legal", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --set loads.batches=[] \
         --model {run}/distilled --adapter {run}/domains/legal/adapter \
         --name legal --task {run}/domains/legal/data/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/legal/after"),
    row("evaluate", "evaluate legal on base", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --set loads.batches=[] \
         --model {run}/distilled --adapter {run}/domains/legal/adapter \
         --name legal --task {run}/data/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/legal/base-task"),
    row("evaluate", "evaluate finance before", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --set loads.batches=[] \
         --model {run}/distilled --name distilled --task {run}/domains/finance/data/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/finance/before"),
    row("evaluate", "evaluate finance", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --set loads.batches=[] \
         --model {run}/distilled --adapter {run}/domains/finance/adapter \
         --name finance --task {run}/domains/finance/data/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/finance/after"),
    row("evaluate", "evaluate finance on base", Some("evaluate"),
        "evaluate --config {config} --set attention=0 --set loads.batches=[] \
         --model {run}/distilled --adapter {run}/domains/finance/adapter \
         --name finance --task {run}/data/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate/finance/base-task"),
    row("publish", "publish medical", None,
        "adapters publish --registry {run}/registry --tier domain --name medical \
         --adapter {run}/domains/medical/adapter --model {run}/distilled \
         --evaluation {run}/evaluate/medical/before {run}/evaluate/medical/after {run}/evaluate/medical/base-task \
         --promote --output {run}/domains/medical/published"),
    row("publish", "publish legal", None,
        "adapters publish --registry {run}/registry --tier domain --name legal \
         --adapter {run}/domains/legal/adapter --model {run}/distilled \
         --evaluation {run}/evaluate/legal/before {run}/evaluate/legal/after {run}/evaluate/legal/base-task \
         --promote --output {run}/domains/legal/published"),
    row("publish", "publish finance", None,
        "adapters publish --registry {run}/registry --tier domain --name finance \
         --adapter {run}/domains/finance/adapter --model {run}/distilled \
         --evaluation {run}/evaluate/finance/before {run}/evaluate/finance/after {run}/evaluate/finance/base-task \
         --promote --output {run}/domains/finance/published"),
    row("report", "report", None,
        "report --input {run}/evaluate/teacher {run}/evaluate/baseline {run}/evaluate/distilled \
         {run}/evaluate/tuned {run}/evaluate/merged {run}/evaluate/quantized {run}/evaluate/quantized-awq \
         {run}/evaluate/quantized-8bit --domains {run}/evaluate/medical {run}/evaluate/legal {run}/evaluate/finance \
         --training {run}/baseline {run}/distilled {run}/adapter --output {run}/report"),
    row("gate", "gate", Some("gates"),
        "gate --config {config} --input {run}/evaluate/distilled {run}/evaluate/tuned {run}/evaluate/merged \
         {run}/evaluate/quantized {run}/evaluate/quantized-awq {run}/evaluate/quantized-8bit \
         --reference {run}/evaluate/teacher --keep {run}/tuned {run}/quantized --output {run}/gates"),
];

/// `cargo xtask teacher`; the model is then copied to the fixture's folder.
#[rustfmt::skip]
pub(crate) const TEACHER: &[Row] = &[
    row("data", "data", Some("data"),
        "data build --config {config} --seed {seed} --output {run}/data"),
    row("tokenizer", "tokenizer", Some("tokenizer"),
        "tokenizer train --config {config} --data {run}/data --output {run}/tokenizer"),
    row("sft", "sft", Some("sft"),
        "sft --config {config} --tokenizer {run}/tokenizer --data {run}/data \
         --seed {seed} --device {device} --output {run}/model"),
    row("evaluate", "evaluate", Some("evaluate"),
        "evaluate --config {config} --model {run}/model --name teacher --task {run}/data/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluate"),
];

/// `cargo xtask ablation`: what all variants share.
#[rustfmt::skip]
pub(crate) const ABLATION_SHARED: &[Row] = &[
    row("data", "data", Some("data"),
        "data build --config {config} --seed {seed} --output {run}/data"),
    row("teacher", "evaluate teacher", Some("evaluate"),
        "evaluate --config {config} --model {teacher} --name teacher --task {run}/data/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/teacher/evaluation"),
];

/// A variant with one seed.
#[rustfmt::skip]
pub(crate) const ABLATION_VARIANT: &[Row] = &[
    row("student", "distill", Some("distill"),
        "distill --config {config} --teacher {teacher} --data {data} \
         --seed {seed} --device {device} --output {run}/student"),
    ABLATION_EVALUATE,
];

/// The same without the teacher.
#[rustfmt::skip]
pub(crate) const ABLATION_LABELS: &[Row] = &[
    row("student", "baseline", Some("distill"),
        "distill --without-teacher --config {config} --teacher {teacher} --data {data} \
         --seed {seed} --device {device} --output {run}/student"),
    ABLATION_EVALUATE,
];

#[rustfmt::skip]
const ABLATION_EVALUATE: Row =
    row("evaluation", "evaluate", Some("evaluate"),
        "evaluate --config {config} --model {run}/student --name {name} --task {data}/test.jsonl \
         --seed {seed} --device {device} --dtype {dtype} --output {run}/evaluation");
