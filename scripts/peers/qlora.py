"""Trains the same adapter above a base in bfloat16 and above the same base in NF4.

    python scripts/peers/qlora.py --gsm8k train.jsonl --limbeck target/release/limbeck

`--gsm8k` is the training file of https://github.com/openai/grade-school-math; the model is
Gemma 3 270M, fetched as train_trl.py does. Each base is trained with activations kept and
computed again in the backward pass, on the same batches in the same order.

Printed for each run: tokens a second, the loss of the first and the last steps, and the memory:

- state: base, adapter, gradients and both moments, counted (`base_bytes`, `training_state_bytes`
  and the adapter's own float32 of the manifest);
- state as resident: the process's memory with model, tokenizer, data and adapter, less the
  program's before them, measured, with gradients and moments added;
- peak: the highest of the process;
- activations: the peak less program and state as resident.

The last lines are NF4's share of bfloat16's.
"""

import argparse
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from train_trl import REPOSITORY, gemma, timed

BASES = {"bfloat16": "stored", "NF4": "nf4"}
LEARNING_RATE, RANK, LONGEST = 2e-4, 16, 240


@dataclass
class Run:
    """What one run took."""

    losses: list[float]
    rate: float
    state: int
    resident: int
    program: int
    peak: int

    @property
    def activations(self) -> int:
        return self.peak - self.program - self.resident


def data(gsm8k: Path, work: Path, limbeck: Path, count: int) -> Path:
    imported, chosen = work / "gsm8k.jsonl", work / f"gsm8k-{count}.jsonl"
    if not imported.exists():
        command = [limbeck, "data", "import", "--format", "gsm8k", gsm8k, "--output", imported]
        subprocess.run(command, check=True)
    lines = imported.read_text(encoding="utf-8").splitlines(keepends=True)
    chosen.write_text("".join(lines[:count]), encoding="utf-8")
    return chosen


def train(options: argparse.Namespace, model: Path, records: Path, base: str, kept: bool) -> Run:
    output = options.work / f"qlora-{base}-{'kept' if kept else 'recomputed'}"
    settings = {
        "base": BASES[base],
        "rank": RANK,
        "alpha": 2.0 * RANK,
        "answer_only_ratio": 0.0,
        "train.steps": options.steps,
        "train.micro_batch_tokens": options.tokens,
        "train.max_length": LONGEST + 1,
        "train.learning_rate": LEARNING_RATE,
        "train.warmup_steps": 1,
        "train.log_every": 1,
        "train.checkpoint_every": 0,
        "train.head_chunk_rows": 128,
        "train.compute_dtype": options.compute,
        "train.activation_checkpointing": "false" if kept else "true",
    }
    command = [options.limbeck, "lora", "train", "--model", model, "--data", records]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    command += ["--output", output, "--threads", options.threads]
    shutil.rmtree(output, ignore_errors=True)
    peak = timed(command, output.with_suffix(".log"), options.threads)
    lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [line for line in map(json.loads, lines) if "loss" in line]
    metrics = json.loads((output / "manifest.json").read_text())["metrics"]
    moments = metrics["training_state_bytes"]
    program = metrics["resident_before_model"]
    return Run(
        losses=[step["loss"] for step in steps],
        rate=metrics["train_tokens_per_second"],
        state=metrics["base_bytes"] + 4 * metrics["trainable_parameters"] + moments,
        resident=metrics["resident_with_model"] - program + moments,
        program=program,
        peak=peak,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gsm8k", type=Path, required=True)
    parser.add_argument("--limbeck", type=Path, default=REPOSITORY / "target/release/limbeck")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "target/peers")
    parser.add_argument("--model", type=Path, help="another model folder with a template")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--records", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=960, help="positions of a micro-batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compute", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--activations", nargs="+", default=["kept", "recomputed"])
    options = parser.parse_args()
    options.work, options.limbeck = options.work.resolve(), options.limbeck.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    model = options.model or gemma(options.work, options.limbeck)
    records = data(options.gsm8k, options.work, options.limbeck, options.records)
    print(
        "| activations | base | tokens/s | loss: first, mean of the last ten | state | "
        "state as resident | program | activations | peak |\n|" + "---|" * 9
    )
    for how in options.activations:
        runs = {}
        for base in BASES:
            run = runs[base] = train(options, model, records, base, how == "kept")
            last = run.losses[-10:]
            sizes = [run.state, run.resident, run.program, run.activations, run.peak]
            print(
                f"| {how} | {base} | {run.rate:.1f} | {run.losses[0]:.4f}, "
                f"{sum(last) / len(last):.4f} | "
                + " | ".join(f"{size / 1e6:.0f} MB" for size in sizes)
                + " |",
                flush=True,
            )
        nf4, full = runs["NF4"], runs["bfloat16"]
        print(
            f"| {how} | NF4's share | {nf4.rate / full.rate:.2f} | | {nf4.state / full.state:.2f} | "
            f"{nf4.resident / full.resident:.2f} | | {nf4.activations / full.activations:.2f} | "
            f"{nf4.peak / full.peak:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
