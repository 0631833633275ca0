"""The TRL side of train_trl.py: one training run in a process of its own.

    python scripts/peers/trl_worker.py job.json result.json

The job names a model, batches of token ids with labels, and the constants of the run; the
result has each step's loss and seconds. Run by train_trl.py, in its virtual environment.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback


class Clock(TrainerCallback):
    """When each step began and ended."""

    def __init__(self):
        self.begun, self.ended = [], []

    def on_step_begin(self, *_, **__):
        self.begun.append(time.perf_counter())

    def on_step_end(self, *_, **__):
        self.ended.append(time.perf_counter())


def load(folder: str):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def pad(rows: list[dict]) -> dict:
    """Right-padded tensors; `GKDTrainer.compute_loss` reads these three."""
    length = max(len(row["input_ids"]) for row in rows)

    def filled(key: str, filler: int):
        return torch.tensor([row[key] + [filler] * (length - len(row[key])) for row in rows])

    return {
        "input_ids": filled("input_ids", 0),
        "attention_mask": filled("attention_mask", 0),
        "labels": filled("labels", -100),
    }


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    rows = [row for batch in job["batches"] for row in batch]
    for row in rows:
        row["attention_mask"] = [1] * len(row["input_ids"])
    common = {
        "output_dir": job["scratch"],
        "per_device_train_batch_size": len(job["batches"][0]),
        "max_steps": len(job["batches"]),
        "learning_rate": job["learning_rate"],
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "adam_beta2": 0.999,
        "max_grad_norm": 1.0,
        "train_sampling_strategy": "sequential",
        # The processors at hand multiply float32 faster than bfloat16.
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": job["checkpointing"],
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "max_length": None,
    }
    clock = Clock()
    parts = {
        "processing_class": AutoTokenizer.from_pretrained(job["model"]),
        "train_dataset": Dataset.from_list(rows),
        "callbacks": [clock],
    }
    if job["kind"] == "lora":
        from peft import PeftModel
        from trl import SFTConfig, SFTTrainer

        model = PeftModel.from_pretrained(load(job["model"]), job["adapter"], is_trainable=True)
        trainer = SFTTrainer(model=model, args=SFTConfig(**common), **parts)
    else:
        from trl.experimental.gkd import GKDConfig, GKDTrainer

        arguments = GKDConfig(lmbda=0.0, beta=job["beta"], seq_kd=False, **common)
        trainer = GKDTrainer(
            model=load(job["model"]),
            teacher_model=load(job["teacher"]),
            args=arguments,
            data_collator=pad,
            **parts,
        )
    trainer.train()
    seconds = [end - begin for begin, end in zip(clock.begun, clock.ended, strict=True)]
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    result = {"losses": losses, "seconds": seconds, "total": clock.ended[-1] - clock.begun[0]}
    Path(sys.argv[2]).write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
