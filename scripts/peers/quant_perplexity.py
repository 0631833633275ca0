"""Perplexity of a model folder, packed or not, or of a GGUF file, on lines of tokens.

    python scripts/peers/quant_perplexity.py lines --model DIR --records test.jsonl --count 64 --output LINES.jsonl
    python scripts/peers/quant_perplexity.py measure --model DIR --reader own --lines LINES.jsonl
    python scripts/peers/quant_perplexity.py scored SCORED.jsonl
    python scripts/peers/quant_perplexity.py divergence SCORED.jsonl --of DENSE.safetensors LOGITS.safetensors

`lines` writes records, evenly spread over a file, as a JSON object with `id` and `tokens` a line. Records have
`question` and `answer`, as those of https://github.com/openai/grade-school-math, or `messages`, as `limbeck data export
--format messages` writes them. With `--template` they are put into the model's chat template, else question, line
break and answer stand behind the token that begins a text where the model has one. `limbeck score --input LINES --output
SCORED`, `limbeck quantize --calibration LINES` and quant_gptqmodel.py take the same lines, so that no tokenizer and no
template stands between what is compared; `scored` is the perplexity of what the first of them wrote, `--after` a token such as <think>; `divergence`, from the logits that it
wrote, the mean KL(dense || packed) of each token's distribution, its standard error with the lines as clusters, and how many
lines have a token whose likeliest is another. `measure` has the readers of quant_load.py. Printed as JSON: the perplexity over all tokens but each line's first.
Packages: requirements-quant.txt.
"""

import argparse
import json
import math
import re
import time
from pathlib import Path

import torch
from quant_load import READERS, read_lines
from safetensors.torch import load_file
from transformers import AutoTokenizer


THOUGHT = re.compile(r"<think>\n(.*)\n</think>\n\n(.*)", re.DOTALL)


def texts(record: dict) -> tuple[str, str]:
    if "messages" in record:
        question, answer = (message["content"] for message in record["messages"])
        return question, answer
    return record["question"], record["answer"]


def plain(tokenizer, question: str, answer: str) -> list[int]:
    tokens = tokenizer(f"{question}\n{answer}").input_ids
    first = tokenizer.bos_token_id
    return tokens if first is None or tokens[0] == first else [first, *tokens]


def templated(tokenizer, question: str, answer: str) -> list[int]:
    reply = {"role": "assistant", "content": answer}
    if thought := THOUGHT.fullmatch(answer):
        reply |= {"reasoning_content": thought[1], "content": thought[2]}
    messages = [{"role": "user", "content": question}, reply]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    return tokenizer(text, add_special_tokens=False).input_ids


def record_lines(model: Path, file: Path, count: int, template: bool, longest: int) -> dict[str, list[int]]:
    """Ids and tokens of `count` records, without those of more than `longest` tokens."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokens = templated if template else plain
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    chosen = range(0, len(records), max(1, len(records) // count))[:count]
    lines = {f"{file.stem}-{index}": tokens(tokenizer, *texts(records[index])) for index in chosen}
    return {name: line for name, line in lines.items() if len(line) <= longest}


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


def start(tokens: list[int], after: int | None) -> int:
    return 0 if after is None else tokens.index(after)


def divergence(options: argparse.Namespace) -> dict:
    dense, packed = load_file(options.of[0]), load_file(options.of[1])
    sums, count, changed = [], 0, 0
    for name, tokens in read_lines(options.file).items():
        rows = slice(start(tokens, options.after), len(tokens) - 1)
        expected, found = (logits[name][rows].double().log_softmax(-1) for logits in (dense, packed))
        sums.append((expected.exp() * (expected - found)).sum().item())
        count += expected.shape[0]
        changed += (expected.argmax(-1) != found.argmax(-1)).any().item()
    error = torch.tensor(sums).std().item() * len(sums) ** 0.5 / count
    return {"kl": sum(sums) / count, "error": error, "changed": changed, "lines": len(sums), "tokens": count}


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
    command.add_argument("--records", type=Path, required=True)
    command.add_argument("--count", type=int, default=64)
    command.add_argument("--template", action="store_true")
    command.add_argument("--longest", type=int, default=1024)
    command.add_argument("--output", type=Path, required=True)
    command = commands.add_parser("measure")
    command.add_argument("--model", type=Path, required=True)
    command.add_argument("--reader", choices=READERS, required=True)
    command.add_argument("--lines", type=Path, required=True)
    command.add_argument("--threads", type=int, default=2)
    command = commands.add_parser("scored")
    command.add_argument("file", type=Path)
    command.add_argument("--after", type=int, help="count what follows the first token of this id")
    command = commands.add_parser("divergence")
    command.add_argument("file", type=Path)
    command.add_argument("--of", type=Path, nargs=2, required=True)
    command.add_argument("--after", type=int)
    options = parser.parse_args()
    match options.command:
        case "lines":
            lines = record_lines(options.model, options.records, options.count, options.template, options.longest)
            write_lines(options.output, lines)
        case "divergence":
            print(json.dumps(divergence(options)))
        case "measure":
            print(json.dumps(measure(options)))
        case "scored":
            lines = map(json.loads, options.file.read_text(encoding="utf-8").splitlines())
            logprobs = [line["logprobs"][1 + start(line["tokens"], options.after) :] for line in lines]
            print(json.dumps({"scored": str(options.file), **summary(logprobs)}))


if __name__ == "__main__":
    main()
