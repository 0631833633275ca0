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
    "dora": dict(r=4, lora_alpha=8, use_dora=True, target_modules="all-linear"),
    # Over what is left of the base without its principal part; the base is what it was when the file is read.
    "pissa": dict(r=4, lora_alpha=8, init_lora_weights="pissa", target_modules=["q_proj", "o_proj", "up_proj"]),
    # The base is tied: PEFT adapts embedding and head apart, and keeps copies of both beside the updates.
    "ends": dict(r=4, lora_alpha=8, target_modules=["embed_tokens", "lm_head", "v_proj"]),
    "saved": dict(r=4, lora_alpha=8, target_modules=["k_proj"], modules_to_save=["lm_head", "embed_tokens"]),
}

# Of two adapters of one rank and other scales, by each of PEFT's methods that draws nothing.
COMBINATIONS = {
    "cat": dict(combination_type="cat"),
    "svd": dict(combination_type="svd", svd_rank=4),
    "linear": dict(combination_type="linear"),
    "ties": dict(combination_type="ties", density=0.5),
    "ties_svd": dict(combination_type="ties_svd", density=0.5, svd_rank=4),
    "ties_frequency": dict(combination_type="ties", density=0.5, majority_sign_method="frequency"),
}
COMBINED = {
    "one": dict(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]),
    "two": dict(r=4, lora_alpha=2, target_modules=["q_proj", "down_proj"]),
}
WEIGHTS = [0.75, 1.5]


def load_base():
    return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def make(name: str, options: dict, generator: torch.Generator) -> None:
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    adapted = get_peft_model(load_base(), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none", **options)).eval()
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_" not in parameter_name and "modules_to_save" not in parameter_name:
            continue
        noise = torch.randn(parameter.shape, generator=generator)
        if "magnitude" in parameter_name:
            parameter.mul_(1 + 0.2 * noise)
        elif "lora_" in parameter_name and options.get("init_lora_weights") == "pissa":
            parameter.add_(0.15 * noise)  # it begins as the base's principal part, and moves
        elif "lora_" in parameter_name:
            parameter.copy_(0.15 * noise)
        else:
            parameter.add_(0.1 * noise)
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
    # PiSSA's remainder of the base is computed again when the file is read.
    exact = dict(rtol=1e-4, atol=1e-4) if options.get("init_lora_weights") == "pissa" else dict(rtol=0, atol=0)
    torch.testing.assert_close(logits, adapted(tokens, use_cache=False).logits[0], **exact)
    if name != "ends":  # PEFT merges both updates into the one matrix of a tied model
        merged = loaded.merge_and_unload()(tokens, use_cache=False).logits[0]
        torch.testing.assert_close(merged, logits, rtol=1e-4, atol=1e-4)
    save_file({"tokens": tokens, "logits": logits.contiguous()}, folder / "expected.safetensors")
    print(f"{name}: largest logit change {(logits - base_logits).abs().max():.2f}")


@torch.no_grad()
def combine(generator: torch.Generator) -> None:
    folder = ROOT / "combined"
    shutil.rmtree(folder, ignore_errors=True)
    for name, options in COMBINED.items():
        adapted = get_peft_model(load_base(), LoraConfig(task_type="CAUSAL_LM", **options))
        for parameter_name, parameter in adapted.named_parameters():
            if "lora_" in parameter_name:
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
        adapted.save_pretrained(folder / name)
        (folder / name / "README.md").unlink()
        config = json.loads((folder / name / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = "fixtures/parity/qwen2"
        config["target_modules"].sort()
        tiny_tokenizer.write_json(folder / name / "adapter_config.json", config)
    model = PeftModel.from_pretrained(load_base(), folder / "one", adapter_name="one")
    model.load_adapter(folder / "two", adapter_name="two")
    updates = {}
    for name, options in COMBINATIONS.items():
        model.add_weighted_adapter(["one", "two"], WEIGHTS, name, **options)
        for module_name, module in model.base_model.model.named_modules():
            if hasattr(module, "lora_A") and name in module.lora_A:
                updates[f"{name}.{module_name}"] = module.get_delta_weight(name).contiguous()
        model.delete_adapter(name)
    save_file(updates, folder / "updates.safetensors")
    print(f"combined: {len(COMBINATIONS)} ways of {len(COMBINED)} adapters")


def main() -> None:
    torch.set_num_threads(1)
    for seed, (name, options) in enumerate(ADAPTERS.items()):
        make(name, options, torch.Generator().manual_seed(2000 + seed))
    combine(torch.Generator().manual_seed(3000))


if __name__ == "__main__":
    main()
