"""Perplexity of a model folder, packed or not, or of a GGUF file, on lines of tokens.

    python scripts/peers/quant_perplexity.py lines --model DIR --gsm8k test.jsonl --records 64 --output LINES.jsonl
    python scripts/peers/quant_perplexity.py measure --model DIR --reader own --lines LINES.jsonl
    python scripts/peers/quant_perplexity.py scored SCORED.jsonl

`lines` writes records of https://github.com/openai/grade-school-math, evenly spread over the file, as a JSON object
with `id` and `tokens` a line: question, line break, answer, behind the token that begins a text where the model has
one. `limbeck score --input LINES --output SCORED` and `limbeck quantize --calibration LINES` take the same lines, so
that no tokenizer and no template stands between what is compared; `scored` is the perplexity of what the former wrote.
`measure` has the readers of quant_load.py. Printed as JSON: the perplexity over all tokens but each line's first.
Packages: requirements-quant.txt.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from quant_load import READERS, read_lines
from transformers import AutoTokenizer


def gsm8k_lines(model: Path, gsm8k: Path, count: int) -> dict[str, list[int]]:
    """Ids and tokens of `count` records."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    records = [json.loads(line) for line in gsm8k.read_text(encoding="utf-8").splitlines()]
    lines = {}
    for index in range(0, len(records), max(1, len(records) // count))[:count]:
        tokens = tokenizer(f"{records[index]['question']}\n{records[index]['answer']}").input_ids
        first = tokenizer.bos_token_id
        if first is not None and tokens[0] != first:
            tokens = [first, *tokens]
        lines[f"{gsm8k.stem}-{index}"] = tokens
    return lines


def write_lines(path: Path, lines: dict[str, list[int]]) -> None:
    text = [json.dumps({"id": name, "tokens": tokens}) + "\n" for name, tokens in lines.items()]
    path.write_text("".join(text), encoding="utf-8")


def summary(logprobs: list[list[float]]) -> dict:
    """Of the log-probabilities of each line's tokens but the first."""
    count = sum(map(len, logprobs))
    return {
        "perplexity": math.exp(-sum(map(math.fsum, logprobs)) / count),
        "lines": len(logprobs),
        "predicted_tokens": count,
    }


def measure(options: argparse.Namespace) -> dict:
    torch.set_num_threads(options.threads)
    compute = READERS[options.reader](options.model)
    begun, logprobs = time.perf_counter(), []
    for tokens in read_lines(options.lines).values():
        rows = compute(tokens)[:-1].log_softmax(-1)
        logprobs.append(rows.gather(1, torch.tensor(tokens[1:]).unsqueeze(1)).flatten().tolist())
    seconds = time.perf_counter() - begun
    return {"model": str(options.model), "reader": options.reader, **summary(logprobs), "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("lines")
    command.add_argument("--model", type=Path, required=True, help="whose tokenizer it is")
    command.add_argument("--gsm8k", type=Path, required=True)
    command.add_argument("--records", type=int, default=64)
    command.add_argument("--output", type=Path, required=True)
    command = commands.add_parser("measure")
    command.add_argument("--model", type=Path, required=True)
    command.add_argument("--reader", choices=READERS, required=True)
    command.add_argument("--lines", type=Path, required=True)
    command.add_argument("--threads", type=int, default=2)
    command = commands.add_parser("scored")
    command.add_argument("file", type=Path)
    options = parser.parse_args()
    match options.command:
        case "lines":
            write_lines(options.output, gsm8k_lines(options.model, options.gsm8k, options.records))
        case "measure":
            print(json.dumps(measure(options)))
        case "scored":
            lines = map(json.loads, options.file.read_text(encoding="utf-8").splitlines())
            print(json.dumps({"scored": str(options.file), **summary([line["logprobs"][1:] for line in lines])}))


if __name__ == "__main__":
    main()
