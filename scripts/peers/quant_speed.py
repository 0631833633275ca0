"""Tokens a second at batch 1: llama.cpp, transformers and given commands, in turns in one run.

    python scripts/peers/quant_speed.py --gguf MODEL.gguf --model DIR --command 'limbeck=target/release/limbeck bench
        --model PACKED --prompt-tokens {prompt} --new-tokens {new} --rounds 1 --threads 2 --json'

Each round measures every program once: a prefill of 512 tokens, of which only the last one's logits are computed, and
128 tokens decoded greedily one by one behind a prompt of 64. llama.cpp is timed around `llama_decode`
(llama-cpp-python, micro-batches of 512), transformers in bfloat16 with its dynamic cache. A command is run by the
shell twice a round, for the prefill and for the decoding, with what is in braces filled in; the last line it prints
is a JSON object as `limbeck bench --json` has it. The first round warms up and does not count.

Printed: a Markdown row for each program, medians with the least and the greatest, and the ratio to the first.
Packages: requirements-quant.txt.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PREFILL, PROMPT, DECODED = 512, 64, 128
FIRST_TOKEN = 1000


@dataclass
class Speed:
    """Tokens a second."""

    prefill: float
    decode: float


Program = Callable[[], Speed]


def tokens(count: int) -> list[int]:
    return list(range(FIRST_TOKEN, FIRST_TOKEN + count))


def measured(feed: Callable[[list[int]], int], clear: Callable[[], None]) -> Speed:
    """`feed` continues the sequence and returns the likeliest next token."""
    clear()
    begun = time.perf_counter()
    feed(tokens(PREFILL))
    prefill = time.perf_counter() - begun
    clear()
    following = feed(tokens(PROMPT))
    begun = time.perf_counter()
    for _ in range(DECODED):
        following = feed([following])
    return Speed(PREFILL / prefill, DECODED / (time.perf_counter() - begun))


def llama_cpp(path: Path, threads: int, flash_attention: bool) -> Program:
    import llama_cpp
    import numpy

    model = llama_cpp.Llama(
        str(path),
        n_ctx=PREFILL + DECODED,
        n_batch=PREFILL,
        n_ubatch=PREFILL,
        n_threads=threads,
        n_threads_batch=threads,
        flash_attn=flash_attention,
        verbose=False,
    )
    vocabulary = model.n_vocab()

    def feed(given: list[int]) -> int:
        ids = (llama_cpp.llama_token * len(given))(*given)  # the batch only points to them
        batch = llama_cpp.llama_batch_get_one(ids, len(given))
        if llama_cpp.llama_decode(model.ctx, batch) != 0:
            raise SystemExit("llama_decode failed")
        logits = llama_cpp.llama_get_logits_ith(model.ctx, -1)
        return int(numpy.ctypeslib.as_array(logits, shape=(vocabulary,)).argmax())

    def clear() -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(model.ctx), True)

    return lambda: measured(feed, clear)


def transformers(path: Path, threads: int) -> Program:
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
    cache = None

    @torch.inference_mode()
    def feed(given: list[int]) -> int:
        output = model(torch.tensor([given]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return int(output.logits[0, -1].argmax())

    def clear() -> None:
        nonlocal cache
        cache = DynamicCache(config=model.config)

    return lambda: measured(feed, clear)


def command(line: str) -> Program:
    def bench(prompt: int, new: int) -> dict:
        filled = line.replace("{prompt}", str(prompt)).replace("{new}", str(new))
        child = subprocess.run(filled, shell=True, stdout=subprocess.PIPE, text=True, check=True)
        (of_batch,) = json.loads(child.stdout.splitlines()[-1])["rows"]
        return of_batch

    return lambda: Speed(
        bench(PREFILL, 2)["prefill_tokens_per_second"],
        bench(PROMPT, DECODED)["decode_tokens_per_second"],
    )


def row(name: str, runs: list[Speed], reference: list[Speed]) -> str:
    cells = []
    for of in ("prefill", "decode"):
        values, against = ([getattr(run, of) for run in some] for some in (runs, reference))
        median = statistics.median(values)
        cells.append(f"{median:.1f} ({min(values):.1f}–{max(values):.1f})")
        cells.append(f"{median / statistics.median(against):.2f}")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--flash-attention", action="store_true", help="in llama.cpp")
    parser.add_argument("--model", type=Path, help="a dense folder, for transformers")
    parser.add_argument("--command", action="append", default=[], metavar="NAME=LINE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    programs: dict[str, Program] = {}
    if options.gguf:
        programs[f"llama.cpp {options.gguf.stem}"] = llama_cpp(options.gguf, options.threads, options.flash_attention)
    if options.model:
        programs["transformers bfloat16"] = transformers(options.model, options.threads)
    for given in options.command:
        name, _, line = given.partition("=")
        programs[name] = command(line)
    runs: dict[str, list[Speed]] = {name: [] for name in programs}
    for number in range(options.rounds + 1):
        for name, program in programs.items():
            speed = program()
            print(f"round {number}: {name}: {speed}", file=sys.stderr)
            if number > 0:
                runs[name].append(speed)
    print("| program | prefill, tokens/s | ratio | decoding, tokens/s | ratio |\n" + "|---" * 5 + "|")
    for name in runs:
        print(row(name, runs[name], next(iter(runs.values()))))


if __name__ == "__main__":
    main()
