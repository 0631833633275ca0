//! How to go on after a gate that was not passed.

use std::path::Path;

use super::check::Held;

/// The stage that makes a model, as the default pipeline names it, and keys of it that help.
fn stage(model: &str) -> (&'static str, &'static str) {
    let quantized = ["gptq", "awq", "rtn", "quantized"];
    if quantized.iter().any(|method| model.starts_with(method)) {
        return ("quantize", "quantize.group_size=32, quantize.bits=8 or quantize.keep_bits8");
    }
    match model {
        "baseline" => ("baseline", "distill.train.steps"),
        "distilled" | "student" => ("distill", "distill.train.steps or distill.kd_weight"),
        "tuned" | "merged" => ("lora", "lora.train.steps or lora.rank"),
        _ => ("evaluate", "evaluate.limit, for a narrower interval"),
    }
}

/// What a reader does next.
pub(super) fn of(failures: &[&Held], last_good: Option<&Path>) -> String {
    let mut parts = Vec::new();
    let mut seen = Vec::new();
    for held in failures {
        let quality = held.key.ends_with("_drop")
            || ["min_accuracy", "min_completion", "max_truncation"].contains(&held.key.as_str());
        let part = if held.found.is_none() {
            format!("measure what {} limits, or drop that key", held.key)
        } else if quality {
            let (stage, keys) = stage(&held.model);
            format!("change {keys} and run cargo xtask pipeline --from {stage}")
        } else {
            let keys = match held.key.as_str() {
                "max_weight_bytes" => "quantize.bits or distill.student",
                "max_memory_bytes" => "evaluate.max_batch or evaluate.max_cache_bytes",
                _ => "evaluate.max_batch, or measure again on an idle machine",
            };
            format!("change {keys}")
        };
        if !seen.contains(&part) {
            seen.push(part.clone());
            parts.push(part);
        }
    }
    parts.push(match last_good {
        Some(path) => format!("the last result that passed stands at {}", path.display()),
        None => "no earlier result passed".to_owned(),
    });
    parts.join("; ")
}
