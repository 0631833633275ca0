"""Loads an adapter folder that limbeck wrote into PEFT and compares PEFT's logits with limbeck's.

    python scripts/peers/check_adapter.py --base MODEL --adapter DIR --logits FILE.safetensors

FILE holds `tokens` (i64 [1, seq]) and `logits` (f32 [seq, vocab]), as the example `write_adapter` of limbeck-lora
writes it. With `--scored OUTPUT.jsonl` beside it, FILE is what `limbeck score --logits FILE --output OUTPUT.jsonl`
writes: logits under each record's id, the tokens in the JSON lines.

PEFT only warns about tensors it does not find, so the file's names and values are compared with the loaded adapter's
first. Exit code 1 if anything differs. Versions: scripts/requirements.txt.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def read_cases(logits: Path, scored: Path | None) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    tensors = load_file(logits)
    if scored is None:
        return [("logits", tensors["tokens"], tensors["logits"])]
    lines = [json.loads(line) for line in scored.read_text().splitlines() if line.strip()]
    return [(line["id"], torch.tensor([line["tokens"]]), tensors[line["id"]]) for line in lines]


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--logits", type=Path, required=True)
    parser.add_argument("--scored", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-5, help="share of the largest logit")
    arguments = parser.parse_args()
    torch.set_num_threads(2)

    def load_base(dtype=torch.float32):
        return AutoModelForCausalLM.from_pretrained(arguments.base, dtype=dtype, attn_implementation="eager").eval()

    base = load_base()
    adapted = PeftModel.from_pretrained(load_base(), arguments.adapter).eval()
    # PEFT keeps an adapter that is stored in float32 in float32: .double() takes it along.
    double = PeftModel.from_pretrained(load_base(torch.float64), arguments.adapter).double().eval()
    stored = load_file(arguments.adapter / "adapter_model.safetensors")
    loaded = get_peft_model_state_dict(adapted)
    if stored.keys() != loaded.keys():
        print(f"names differ: {sorted(stored.keys() ^ loaded.keys())}")
        return 1
    unequal = [name for name in stored if not torch.equal(stored[name].float(), loaded[name].float())]
    if unequal:
        print(f"values differ: {unequal}")
        return 1

    failed = False
    for name, tokens, ours in read_cases(arguments.logits, arguments.scored):
        theirs = adapted(tokens, use_cache=False).logits[0]
        exact = double(tokens, use_cache=False).logits[0]
        difference = (ours - theirs).abs().max().item()
        effect = (theirs - base(tokens, use_cache=False).logits[0]).abs().max().item()
        largest = theirs.abs().max().item()
        good = difference <= arguments.tolerance * largest and effect > 100 * difference
        failed |= not good
        print(
            f"{arguments.adapter.name} {name}: {len(stored)} tensors, {tokens.shape[1]} tokens, "
            f"largest difference {difference:.2e}, largest logit {largest:.1f}, "
            f"from PEFT in float64: ours {(ours - exact).abs().max():.2e}, PEFT's own {(theirs - exact).abs().max():.2e}, "
            f"the adapter changes logits by up to {effect:.1f}: {'ok' if good else 'FAILED'}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
