"""Makes tiny packed model folders with the packers of others, for what reads them to be tested on.

    python scripts/peers/make_quant_folders.py --output DIR

Models of random weights, quantised by GPTQModel (GPTQ, AWQ, round to nearest) or compressed-tensors, each into a
folder of its own with the logits that dequantised float32 weights give (`logits.safetensors`: `tokens` i64 [1, 24],
`logits` f32 [24, vocabulary]; `tokens.jsonl` has the same as `limbeck score` reads it). The logits come from
quant_dequantize.py, and each folder is also read by its packer's own loader, which must agree.
Packages: requirements-quant.txt.
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
from compressed_tensors.quantization import apply_quantization_config
from compressed_tensors.quantization.utils import calculate_qparams
from quant_load import READERS
from safetensors.torch import save_file
from transformers import Gemma3TextConfig, LlamaConfig, Qwen2Config
from transformers import Gemma3ForCausalLM, LlamaForCausalLM, Qwen2ForCausalLM

TOKENIZER = Path(__file__).resolve().parents[2] / "fixtures" / "parity" / "qwen2"
VOCABULARY, SEQUENCE, TOLERANCE = 272, 24, 1e-5
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
# Biases and a tied head; a head of its own and value rows by the 64, which AWQ's clipping asks for; (1 + w) norms.
MODELS = {
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**COMMON, tie_word_embeddings=True)),
    "llama": (LlamaForCausalLM, LlamaConfig(**COMMON, head_dim=32, tie_word_embeddings=False)),
    "gemma3": (
        Gemma3ForCausalLM,
        Gemma3TextConfig(**COMMON, head_dim=32, sliding_window=6, query_pre_attn_scalar=32),
    ),
}
# name: model, what GPTQModel is told
GPTQMODEL = {
    "gptq-4bit": ("qwen2", {"bits": 4, "group_size": 32}),
    "gptq-8bit": ("qwen2", {"bits": 8, "group_size": 64}),
    "gptq-3bit": ("qwen2", {"bits": 3, "group_size": 32}),
    "gptq-2bit": ("qwen2", {"bits": 2, "group_size": 32}),
    "gptq-4bit-desc-act": ("qwen2", {"bits": 4, "group_size": 32, "desc_act": True}),
    "gptq-4bit-channel": ("qwen2", {"bits": 4, "group_size": -1, "act_group_aware": False}),
    "gptq-4bit-asymmetric-v1": ("qwen2", {"bits": 4, "group_size": 32, "sym": False}),
    "gptq-4bit-asymmetric-v2": (
        "qwen2",
        {"bits": 4, "group_size": 32, "sym": False, "format": "gptq_v2"},
    ),
    "gptq-4bit-head": ("llama", {"bits": 4, "group_size": 32, "lm_head": True}),
    "gptq-4bit-gemma3": ("gemma3", {"bits": 4, "group_size": 32}),
    "rtn-4bit": ("qwen2", {"bits": 4, "group_size": 32, "weight_only": {"method": "rtn"}}),
    "awq-4bit": ("llama", {"bits": 4, "group_size": 32, "method": "awq", "sym": False}),
    "awq-4bit-bfloat16": (
        "llama",
        {"bits": 4, "group_size": 32, "method": "awq", "sym": False, "dtype": torch.bfloat16},
    ),
    "awq-4bit-symmetric": ("llama", {"bits": 4, "group_size": 32, "method": "awq"}),
}
# name: model, bits, group size (none: a channel), symmetric, what is not quantised
COMPRESSED = {
    "compressed-4bit": ("qwen2", 4, 32, True, ["lm_head"]),
    "compressed-8bit": ("qwen2", 8, 64, True, ["lm_head"]),
    "compressed-3bit": ("qwen2", 3, 32, True, ["lm_head"]),
    "compressed-4bit-asymmetric": ("qwen2", 4, 32, False, ["lm_head"]),
    "compressed-8bit-asymmetric": ("qwen2", 8, 32, False, ["lm_head"]),
    "compressed-8bit-channel": ("qwen2", 8, None, True, ["lm_head"]),
    "compressed-4bit-head": ("llama", 4, 32, True, []),
    "compressed-4bit-gemma3": ("gemma3", 4, 32, True, ["lm_head"]),
}


def random_tokens(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randint(5, VOCABULARY, shape, generator=generator)


def base_model(name: str, folder: Path) -> Path:
    model_class, config = MODELS[name]
    model, generator = model_class(config), torch.Generator().manual_seed(20)
    for parameter, values in model.named_parameters():
        centre = 1.0 if "norm" in parameter and name != "gemma3" else 0.0
        values.data.copy_(centre + 0.2 * torch.randn(values.shape, generator=generator))
    model.half().save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(TOKENIZER / file, folder)
    return folder


def with_gptqmodel(model: Path, output: Path, settings: dict) -> None:
    from gptqmodel import GPTQModel, QuantizeConfig

    dtype = settings.get("dtype", torch.float16)
    settings = {name: value for name, value in settings.items() if name != "dtype"}
    config = QuantizeConfig(**settings, offload_to_disk=False)
    loaded = GPTQModel.load(str(model), config, dtype=dtype)
    rows = random_tokens(torch.Generator().manual_seed(21), 16, 32).tolist()
    calibration = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows]
    loaded.quantize(None if "weight_only" in settings else calibration, batch_size=1)
    loaded.save(str(output))
    (output / "quant_log.csv").unlink()


def with_compressed_tensors(
    source: str, model: Path, output: Path, bits: int, group: int | None, symmetric: bool, ignore: list[str]
) -> None:
    weights = QuantizationArgs(
        num_bits=bits, symmetric=symmetric, group_size=group, strategy="group" if group else "channel"
    )
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    config = QuantizationConfig(config_groups={"group_0": scheme}, ignore=ignore)
    loaded = MODELS[source][0].from_pretrained(model)
    apply_quantization_config(loaded, config)
    for module in loaded.modules():
        if hasattr(module, "weight_scale"):
            groups = module.weight.unflatten(1, (-1, group or module.weight.shape[1]))
            scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), weights)
            module.weight_scale.data.copy_(scale)
            module.weight_zero_point.data.copy_(zero)
    compressor = ModelCompressor.from_pretrained_model(loaded, quantization_format="pack-quantized")
    compressor.compress_model(loaded)
    loaded.save_pretrained(output)
    compressor.update_config(output)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / file, output)


def finish(folder: Path, reader: str) -> None:
    """Adds tokens and logits, and says whether the format's own reader agrees with them."""
    tokens = random_tokens(torch.Generator().manual_seed(22), 1, SEQUENCE)
    row = tokens[0].tolist()
    logits, theirs = READERS["own"](folder)(row), READERS[reader](folder)(row)
    share = ((logits - theirs).abs().max() / logits.abs().max()).item()
    save_file({"tokens": tokens, "logits": logits}, folder / "logits.safetensors")
    (folder / "tokens.jsonl").write_text(json.dumps({"id": "logits", "tokens": row}) + "\n")
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder.name}: {size} bytes, {reader} within {share:.1e}", flush=True)
    if share > TOLERANCE:
        raise SystemExit(f"{folder}: {reader} computes something else")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("names", nargs="*", default=[*GPTQMODEL, *COMPRESSED], help="only these")
    options = parser.parse_args()
    torch.set_num_threads(1)
    output = options.output.resolve()
    os.chdir(tempfile.mkdtemp(prefix="gptqmodel-"))  # it leaves its logs where it is run
    models = {name: base_model(name, output / "models" / name) for name in MODELS}
    for name in options.names:
        folder = output / name
        shutil.rmtree(folder, ignore_errors=True)
        if name in GPTQMODEL:
            source, settings = GPTQMODEL[name]
            with_gptqmodel(models[source], folder, settings)
            # GPTQModel's own kernels for AWQ compute in float16.
            finish(folder, "autoawq" if settings.get("method") == "awq" else "gptqmodel")
        else:
            source, *settings = COMPRESSED[name]
            with_compressed_tensors(source, models[source], folder, *settings)
            finish(folder, "compressed-tensors")


if __name__ == "__main__":
    main()
