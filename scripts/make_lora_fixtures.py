"""Writes fixtures/lora/: adapters that PEFT made on fixtures/parity/qwen2, and the logits PEFT computes with them.

    python scripts/make_lora_fixtures.py            # versions: scripts/requirements.txt; after make_parity_fixtures.py

A and B are both random: PEFT starts B at zero, with which an ignored adapter would pass for a loaded one.
"""

import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import tiny_tokenizer

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
BASE = FIXTURES / "parity" / "qwen2"
ROOT = FIXTURES / "lora"

ADAPTERS = {
    "all_linear": dict(r=4, lora_alpha=8, target_modules="all-linear"),
    # Scale alpha/sqrt(r), a rank and an alpha of their own for some modules, and only some modules.
    "rslora_patterns": dict(
        r=4,
        lora_alpha=6,
        use_rslora=True,
        target_modules=["q_proj", "v_proj", "down_proj"],
        rank_pattern={"down_proj": 2},
        alpha_pattern={"model.layers.1.self_attn.q_proj": 3},
    ),
}


def load_base():
    return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def make(name: str, options: dict, generator: torch.Generator) -> None:
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    adapted = get_peft_model(load_base(), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none", **options)).eval()
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_" in parameter_name:
            parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "fixtures/parity/qwen2"
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # PEFT holds a set: the order would change from run to run
    tiny_tokenizer.write_json(folder / "adapter_config.json", config)

    tokens = load_file(BASE / "expected.safetensors")["tokens"]
    base_logits = load_base()(tokens, use_cache=False).logits[0]
    loaded = PeftModel.from_pretrained(load_base(), folder).eval()
    logits = loaded(tokens, use_cache=False).logits[0]
    torch.testing.assert_close(logits, adapted(tokens, use_cache=False).logits[0], rtol=0, atol=0)
    merged = loaded.merge_and_unload()(tokens, use_cache=False).logits[0]
    torch.testing.assert_close(merged, logits, rtol=1e-4, atol=1e-4)
    save_file({"tokens": tokens, "logits": logits.contiguous()}, folder / "expected.safetensors")
    print(f"{name}: largest logit change {(logits - base_logits).abs().max():.2f}")


def main() -> None:
    torch.set_num_threads(1)
    for seed, (name, options) in enumerate(ADAPTERS.items()):
        make(name, options, torch.Generator().manual_seed(2000 + seed))


if __name__ == "__main__":
    main()
