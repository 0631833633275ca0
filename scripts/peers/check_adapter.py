"""Loads an adapter folder that limbeck wrote into PEFT and compares PEFT's logits with limbeck's.

    python scripts/peers/check_adapter.py --base MODEL --adapter DIR --logits FILE.safetensors

FILE holds `tokens` (i64 [1, seq]) and `logits` (f32 [seq, vocab]), as the example `write_adapter` of limbeck-lora
writes it. With `--scored OUTPUT.jsonl` beside it, FILE is what `limbeck score --logits FILE --output OUTPUT.jsonl`
writes: logits under each record's id, the tokens in the JSON lines.

PEFT only warns about tensors it does not find, so the file's names and values are compared with the loaded adapter's
first. `--vllm` also holds the folder against the rules by which vLLM refuses adapters. Exit code 1 if anything differs.
Versions: scripts/requirements.txt; check_adapters.sh runs it over all variants.
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


def vllm_complaints(adapter: Path, max_lora_rank: int) -> list[str]:
    """What vLLM (vllm/lora/peft_helper.py, lora_model.py, utils.py) would refuse the folder for."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    complaints = [f"no {key}" for key in ("r", "lora_alpha", "target_modules") if config.get(key) is None]
    if config.get("r", 0) > max_lora_rank:
        complaints.append(f"rank {config['r']} above {max_lora_rank}")
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        complaints.append("a bias")
    if config.get("use_dora"):
        complaints.append("DoRA")
    if config.get("modules_to_save"):
        complaints.append("modules_to_save")
    if config.get("init_lora_weights") not in (None, True, False, "gaussian"):
        complaints.append(f"init_lora_weights {config['init_lora_weights']}")
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        complaints.append("patterns, which it does not read")
    for name in load_file(adapter / "adapter_model.safetensors"):
        parts = name.split(".")
        linear = parts[-1] == "weight" and parts[-2] in ("lora_A", "lora_B")
        embedding = parts[-1] in ("lora_embedding_A", "lora_embedding_B")
        if parts[:2] != ["base_model", "model"] or not (linear or embedding):
            complaints.append(f"tensor {name}")
    return complaints


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--logits", type=Path, required=True)
    parser.add_argument("--scored", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-5, help="share of the largest logit")
    parser.add_argument("--vllm", type=int, metavar="MAX_LORA_RANK")
    arguments = parser.parse_args()
    if arguments.vllm is not None and (complaints := vllm_complaints(arguments.adapter, arguments.vllm)):
        print(f"{arguments.adapter.name}: vLLM would refuse {complaints}")
        return 1
    torch.set_num_threads(2)

    def load_base(dtype=torch.float32):
        return AutoModelForCausalLM.from_pretrained(arguments.base, dtype=dtype, attn_implementation="eager").eval()

    base = load_base()
    adapted = PeftModel.from_pretrained(load_base(), arguments.adapter).eval()
    # PEFT keeps an adapter that is stored in float32 in float32: .double() takes it along.
    double = PeftModel.from_pretrained(load_base(torch.float64), arguments.adapter).double().eval()
    stored = load_file(arguments.adapter / "adapter_model.safetensors")
    # PEFT adds copies of a targeted embedding or head of the base, which it takes from the base where they are absent.
    loaded = get_peft_model_state_dict(adapted)
    loaded = {name: tensor for name, tensor in loaded.items() if ".base_layer." not in name}
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
