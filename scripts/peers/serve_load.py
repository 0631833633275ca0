"""A crowd against a running server: clients that ask, stream, leave in the middle and send what is no request.

    limbeck serve --model fixtures/student --set server.limits.max_requests=128 --set server.limits.max_prompts=64 &
    python3 scripts/peers/serve_load.py --url http://127.0.0.1:8000 --pid PID --clients 200 --seconds 300

Every client asks one thing after another: whole and streamed completions and chats, streams left after a few events or
before the first, bodies cut in the middle, bodies beyond the limit, random bytes, broken JSON, unknown parameters. What a
server may answer is checked: 200 with a whole reply, 4xx for a client's fault, 429 when it is full, and never 5xx or a
connection that ends without a word where a whole request was sent. At the end nothing may run and no block be in use.
Printed as JSON, with the process's memory at a tenth of the time and at the end. Ends with 1 if anything was wrong.
Standard library only.
"""

import argparse
import asyncio
import collections
import json
import random
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

QUESTION = "Take 30.\n#A multiply by 4\n#B add 7\nWhat number is it now?"


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


class Crowd:
    def __init__(self, url: str, seconds: float):
        address = urlsplit(url)
        self.host, self.port, self.url = address.hostname, address.port, url
        self.until = time.monotonic() + seconds
        self.counts = collections.Counter()
        self.faults = []

    def fault(self, what: str) -> None:
        self.counts["faults"] += 1
        if len(self.faults) < 20:
            self.faults.append(what)

    async def send(self, path: str, body: bytes, length: int | None = None):
        reader, writer = await asyncio.open_connection(self.host, self.port)
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self.host}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body) if length is None else length}\r\nconnection: close\r\n\r\n"
        )
        try:
            writer.write(head.encode() + body)
            await writer.drain()
        except OSError:
            pass  # a server that has heard enough may close before all is written
        return reader, writer

    async def status(self, reader: asyncio.StreamReader) -> int:
        line = await reader.readline()
        return int(line.split()[1]) if line else 0

    async def whole(self, draw: random.Random) -> None:
        stream, chat = draw.random() < 0.6, draw.random() < 0.5
        body = {"max_tokens": draw.randrange(1, 80), "stream": stream, "n": draw.choice([1, 1, 1, 3])}
        if chat:
            body["messages"] = [{"role": "user", "content": QUESTION}]
        else:
            body["prompt"] = QUESTION[: draw.randrange(1, len(QUESTION))]
        path = "/v1/chat/completions" if chat else "/v1/completions"
        reader, writer = await self.send(path, json.dumps(body).encode())
        status = await self.status(reader)
        text = await reader.read()
        writer.close()
        if status == 429:
            self.counts["full"] += 1
            await asyncio.sleep(draw.random())
        elif status != 200:
            self.fault(f"{status} for a good request: {text[-200:]!r}")
        elif stream and b"[DONE]" not in text:
            self.fault(f"a stream broke off: {text[-200:]!r}")
        elif not stream and b'"usage"' not in text:
            self.fault(f"a reply broke off: {text[-200:]!r}")
        else:
            self.counts["answered"] += 1

    async def leave(self, draw: random.Random) -> None:
        body = {"prompt": QUESTION, "max_tokens": 400, "ignore_eos": True, "stream": True}
        reader, writer = await self.send("/v1/completions", json.dumps(body).encode())
        for _ in range(draw.randrange(0, 12)):
            await reader.readline()
        writer.transport.abort()
        self.counts["left"] += 1

    async def cut(self, draw: random.Random) -> None:
        body = json.dumps({"prompt": QUESTION, "max_tokens": 5}).encode()
        _, writer = await self.send("/v1/completions", body[: draw.randrange(len(body))], len(body))
        writer.transport.abort()
        self.counts["cut"] += 1

    async def wrong(self, draw: random.Random) -> None:
        good = json.dumps({"prompt": QUESTION, "max_tokens": 5}).encode()
        mutated = bytearray(good)
        for _ in range(draw.randrange(1, 6)):
            mutated[draw.randrange(len(mutated))] = draw.randrange(256)
        body = draw.choice(
            [
                draw.randbytes(draw.randrange(1, 300)),
                good[: draw.randrange(1, len(good))],
                bytes(mutated),
                json.dumps({"prompt": QUESTION * 400, "max_tokens": 5}).encode(),
                json.dumps({"prompt": QUESTION, "max_tokens": "many"}).encode(),
                json.dumps({"prompt": QUESTION, "model": "nobody"}).encode(),
                json.dumps({"prompt": [[5, 10**9]]}).encode(),
                b"[" * 5000,
            ]
        )
        reader, writer = await self.send("/v1/completions", body)
        status = await self.status(reader)
        writer.close()
        # What was mutated may still be a request.
        if not (status in (200, 429) or 400 <= status < 500):
            self.fault(f"{status} for {body[:80]!r}")
        self.counts["refused" if status != 200 else "answered"] += 1

    async def oversize(self, _: random.Random) -> None:
        reader, writer = await self.send("/v1/completions", b"x" * (1 << 16), 1 << 30)
        status = await self.status(reader)
        writer.close()
        if status != 413:
            self.fault(f"{status} for a body beyond the limit")
        self.counts["oversize"] += 1

    async def client(self, number: int) -> None:
        draw = random.Random(number)
        acts = [self.whole] * 5 + [self.leave] * 2 + [self.cut, self.wrong, self.oversize]
        while time.monotonic() < self.until:
            try:
                await asyncio.wait_for(draw.choice(acts)(draw), 120)
            except TimeoutError:
                self.fault("no answer in 120 s")
            except OSError as error:
                self.counts[type(error).__name__] += 1

    def metrics(self) -> dict[str, float]:
        text = urllib.request.urlopen(self.url + "/metrics").read().decode()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name.split("{")[0]: float(value) for name, value in lines}


async def run(options: argparse.Namespace) -> dict:
    crowd = Crowd(options.url, options.seconds)
    memory = []

    async def watch() -> None:
        while time.monotonic() < crowd.until:
            memory.append(resident_bytes(options.pid))
            await asyncio.sleep(1)

    await asyncio.gather(watch(), *(crowd.client(number) for number in range(options.clients)))
    for _ in range(300):
        metrics = crowd.metrics()
        if metrics["vllm:num_requests_running"] + metrics["vllm:num_requests_waiting"] == 0:
            break
        await asyncio.sleep(0.1)
    if metrics["vllm:num_requests_running"] + metrics["vllm:num_requests_waiting"] > 0:
        crowd.fault("requests are left")
    if metrics["vllm:kv_cache_usage_perc"] > 0:
        crowd.fault("blocks are left")
    early, late = memory[len(memory) // 10], memory[-1]
    if late > 1.15 * early:
        crowd.fault(f"memory grew from {early} to {late}")
    return {
        "clients": options.clients,
        "seconds": options.seconds,
        **dict(sorted(crowd.counts.items())),
        "preemptions": metrics["vllm:num_preemptions_total"],
        "memory_bytes": {"early": early, "late": late, "most": max(memory)},
        "wrong": crowd.faults,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", required=True)
    parser.add_argument("--pid", type=int, required=True, help="the server's process")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=300)
    result = asyncio.run(run(parser.parse_args()))
    print(json.dumps(result, indent=2))
    return int(bool(result["wrong"]))


if __name__ == "__main__":
    sys.exit(main())
