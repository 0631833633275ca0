"""Throughput of 16 requests at a time: `limbeck serve`, llama.cpp and transformers, in one run.

    limbeck serve --model PACKED --threads 2 &
    python scripts/peers/serve_throughput.py --url http://127.0.0.1:8000 --gguf MODEL.gguf --model DIR

Requests have prompts of 128 drawn tokens and `--new` greedy tokens each, whatever these are (`ignore_eos`). `limbeck serve`
is asked over HTTP, streaming, one at a time and 16 at a time; then twice with the same 1,000 tokens, for its prefix cache.
Several servers with other settings may be given, `--url NAME=URL` each.
llama.cpp decodes 16 sequences in one batch by `llama_decode`, which is what its server does without the network;
transformers runs `generate` on a batch of 16 in bfloat16, without padding. Peers are left out where their model is not
given. Each is measured `--rounds` times in turns, after a round that does not count; the median is printed, as Markdown.
Packages: requirements-quant.txt.
"""

import argparse
import http.client
import json
import random
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

PROMPT, TOGETHER = 128, 16


def prompts(count: int, length: int, seed: int, vocabulary: int) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(100, vocabulary) for _ in range(length)] for _ in range(count)]


def ask(url: str, prompt: list[int], new: int) -> tuple[float, int]:
    """Seconds to the first token, and how many came."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=600)
    body = {
        "prompt": prompt,
        "max_tokens": new,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    begun, first, count = time.perf_counter(), None, 0
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"{response.status}: {response.read().decode()}")
    for line in response:
        if line.startswith(b"data: {"):
            first = first or time.perf_counter() - begun
            usage = json.loads(line[6:]).get("usage")
            count = usage["completion_tokens"] if usage else count
    connection.close()
    return first, count


def served(url: str, together: int, vocabulary: int, new: int) -> Callable[[int], float]:
    def run(seed: int) -> float:
        # Prompts of its own: what another program left in the prefix cache must not help.
        given = prompts(TOGETHER, PROMPT, seed * 100 + together, vocabulary)
        begun = time.perf_counter()
        with ThreadPoolExecutor(together) as pool:
            counts = [count for _, count in pool.map(lambda prompt: ask(url, prompt, new), given)]
        return sum(counts) / (time.perf_counter() - begun)

    return run


def llama_cpp(path: Path, threads: int, vocabulary: int, new: int) -> Callable[[int], float]:
    import llama_cpp
    import numpy

    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = TOGETHER * (PROMPT + new), 2048, 512
    settings.n_seq_max, settings.n_threads, settings.n_threads_batch = TOGETHER, threads, threads
    context = llama_cpp.llama_init_from_model(model, settings)
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    batch = llama_cpp.llama_batch_init(TOGETHER * PROMPT, 0, 1)

    def fill(rows: list[tuple[int, int, int, bool]]) -> None:
        """Token, position, sequence, whether its logits are wanted."""
        batch.n_tokens = len(rows)
        for at, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[at], batch.pos[at], batch.logits[at] = token, position, wanted
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
        if llama_cpp.llama_decode(context, batch) != 0:
            raise SystemExit("llama_decode failed")

    def likeliest(at: int) -> int:
        logits = llama_cpp.llama_get_logits_ith(context, at)
        return int(numpy.ctypeslib.as_array(logits, shape=(size,)).argmax())

    def run(seed: int) -> float:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        given = prompts(TOGETHER, PROMPT, seed, vocabulary)
        begun = time.perf_counter()
        rows = [
            (token, position, sequence, position == PROMPT - 1)
            for sequence, prompt in enumerate(given)
            for position, token in enumerate(prompt)
        ]
        fill(rows)
        following = [likeliest((sequence + 1) * PROMPT - 1) for sequence in range(TOGETHER)]
        for step in range(new - 1):
            fill([(token, PROMPT + step, sequence, True) for sequence, token in enumerate(following)])
            following = [likeliest(sequence) for sequence in range(TOGETHER)]
        return TOGETHER * new / (time.perf_counter() - begun)

    return run


def transformers(path: Path, threads: int, vocabulary: int, new: int) -> Callable[[int], float]:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()

    @torch.inference_mode()
    def run(seed: int) -> float:
        given = torch.tensor(prompts(TOGETHER, PROMPT, seed, vocabulary))
        begun = time.perf_counter()
        reply = model.generate(
            given,
            attention_mask=torch.ones_like(given),
            do_sample=False,
            max_new_tokens=new,
            min_new_tokens=new,
            pad_token_id=0,
        )
        return (reply.shape[1] - PROMPT) * TOGETHER / (time.perf_counter() - begun)

    return run


def sample_unused(url: str, samples: list[float]) -> None:
    """The share of slots without a token, twice a second while 16 requests run and have their prompts behind them."""
    while True:
        text = urllib.request.urlopen(url + "/metrics").read().decode()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        values = {name.split("{")[0]: float(value) for name, value in lines}
        if values["vllm:num_requests_running"] == TOGETHER:
            samples.append(values["vllm:kv_cache_unused_perc"])
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", metavar="[NAME=]URL", action="append", required=True)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--model", type=Path, help="a dense folder, for transformers")
    parser.add_argument("--vocabulary", type=int, default=32000, help="prompts' tokens are below it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--new", type=int, default=64, help="tokens of each reply")
    options = parser.parse_args()
    servers = dict(url.rsplit("=", 1) if "=" in url else ("limbeck serve", url) for url in options.url)
    programs = {
        f"{name}, {'one' if together == 1 else together} at a time": served(
            url, together, options.vocabulary, options.new
        )
        for name, url in servers.items()
        for together in (1, TOGETHER)
    }
    if options.gguf:
        name = f"llama.cpp {options.gguf.stem}, a batch of {TOGETHER}"
        programs[name] = llama_cpp(options.gguf, options.threads, options.vocabulary, options.new)
    if options.model:
        name = f"transformers bfloat16, a batch of {TOGETHER}"
        programs[name] = transformers(options.model, options.threads, options.vocabulary, options.new)
    unused = []
    url = next(iter(servers.values()))
    threading.Thread(target=sample_unused, args=(url, unused), daemon=True).start()
    runs = {name: [] for name in programs}
    for number in range(options.rounds + 1):
        for name, program in programs.items():
            speed = program(number)
            if number > 0:
                runs[name].append(speed)
    first = statistics.median(next(iter(runs.values())))
    print("| | tokens/s | ratio |")
    print("|---|---|---|")
    for name, speeds in runs.items():
        median = statistics.median(speeds)
        print(f"| {name} | {median:.1f} ({min(speeds):.1f}–{max(speeds):.1f}) | {median / first:.2f} |")
    if unused:  # a server too fast to be looked at has none
        print(f"\nSlots of the cache's blocks in use that hold no token: {100 * statistics.mean(unused):.1f} % on average.")
    ratios = []
    for number in range(options.rounds):
        (prompt,) = prompts(1, 1000, 1000 + number, options.vocabulary)
        cold, warm = (ask(url, prompt, 1)[0] for _ in range(2))
        ratios.append(warm / cold)
    print(f"\nTime to the first token with 1,000 tokens in the prefix cache: {statistics.median(ratios):.3f} of that without.")


if __name__ == "__main__":
    main()
