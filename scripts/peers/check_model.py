"""Loads a model folder in Python transformers, unchanged, and compares it with limbeck.

    python scripts/peers/check_model.py --model fixtures/teacher --limbeck target/release/limbeck

Compares the tokenizer's ids and the chat template's text on a few conversations, and the
float32 logits of `limbeck score` with those of transformers. Exits with 1 if they differ.
Needs the packages of scripts/requirements.txt.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTIONS = [
    "Start with 61.\n#A plus 38\n#B times 4\nWhat is it now?",
    "Who is the tallest?\n#A Ben is taller than Raj\n#B Zoe is taller than Ben",
    "What is 12 + 30? Überraschung, 数学.",
]
TOLERANCE = 1e-4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--limbeck", default="target/release/limbeck")
    arguments = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32)
    model.eval()
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        for question in QUESTIONS
    ]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        lines = [json.dumps({"id": str(i), "text": text}) for i, text in enumerate(texts)]
        (folder / "in.jsonl").write_text("\n".join(lines), encoding="utf-8")
        subprocess.run(
            [arguments.limbeck, "score", "--model", arguments.model]
            + ["--input", folder / "in.jsonl", "--output", folder / "out.jsonl"]
            + ["--logits", folder / "logits.safetensors"],
            check=True,
        )
        logits = load_file(folder / "logits.safetensors")
        scored = (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()
    worst = 0.0
    for index, (text, line) in enumerate(zip(texts, scored, strict=True)):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        ours = json.loads(line)["tokens"]
        if ids != ours:
            print(f"ids differ for {text!r}: {ids} and {ours}")
            return 1
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits[0]
        worst = max(worst, (expected - logits[str(index)]).abs().max().item())
    print(f"{len(texts)} conversations: same ids, largest difference of a logit {worst:.2e}")
    return 0 if worst < TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
