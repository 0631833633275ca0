"""Reads packed model folders in plain torch, sharing no code with any packer or kernel.

    from quant_dequantize import dense_model      # a model of transformers, float32, from a packed folder

Understands GPTQ (versions 1 and 2, 2 to 8 bits, any order of groups), AWQ (`gemm`, 4 bits) and
compressed-tensors (`pack-quantized`, 1 to 8 bits). Bits and groups are read off the tensors' shapes, module by
module, so that what a config.json says of them is not trusted; what it says of method and format is.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

AWQ_ORDER = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
Tensors = dict[str, torch.Tensor]
Unpack = Callable[[Tensors], torch.Tensor]


def unpack(words: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """Codes of rows of 32-bit words, lowest bits first, without gaps: [rows, words] to [rows, count]."""
    words = words.long() & 0xFFFFFFFF
    start = torch.arange(count) * bits
    following = (start // 32 + 1).clamp(max=words.shape[1] - 1)
    pairs = words[:, following] << 32
    pairs |= words[:, start // 32]
    return (pairs >> (start % 32)) & (2**bits - 1)


def gptq(module: Tensors, version: int) -> torch.Tensor:
    group_of, scales = module["g_idx"].long(), module["scales"].float()
    inputs, outputs = len(group_of), scales.shape[1]
    bits = module["qweight"].shape[0] * 32 // inputs
    codes = unpack(module["qweight"].T, bits, inputs)
    zeros = unpack(module["qzeros"], bits, outputs)
    if version == 1:
        zeros = (zeros + 1) % 2**bits
    return (codes - zeros[group_of].T) * scales[group_of].T


def awq(module: Tensors) -> torch.Tensor:
    scales = module["scales"].float()
    inputs, outputs = len(module["qweight"]), scales.shape[1]
    columns = (torch.arange(outputs).view(-1, 8)[:, AWQ_ORDER]).flatten()
    codes, zeros = (torch.empty(len(module[name]), outputs) for name in ("qweight", "qzeros"))
    codes[:, columns] = unpack(module["qweight"], 4, outputs).float()
    zeros[:, columns] = unpack(module["qzeros"], 4, outputs).float()
    group_of = torch.arange(inputs) // (inputs // len(scales))
    return ((codes - zeros[group_of]) * scales[group_of]).T


def compressed(module: Tensors) -> torch.Tensor:
    outputs, inputs = module["weight_shape"].tolist()
    scales = module["weight_scale"].float()
    bits = module["weight_packed"].shape[1] * 32 // inputs
    codes = unpack(module["weight_packed"], bits, inputs)
    # Codes and zeros have the same offset, which falls out of their difference.
    zeros = torch.full((outputs, 1), 2 ** (bits - 1)).expand(scales.shape)
    if "weight_zero_point" in module:
        zeros = unpack(module["weight_zero_point"].T, bits, outputs).T
    group_of = module.get("weight_g_idx", torch.arange(inputs) // (inputs // scales.shape[1]))
    return (codes - zeros[:, group_of]) * scales[:, group_of]


def unpacker(settings: dict) -> Unpack:
    form = settings.get("checkpoint_format") or settings.get("format") or settings.get("version")
    match settings["quant_method"], form:
        case "gptq", "gptq":
            return lambda module: gptq(module, version=1)
        case "gptq", "gptq_v2":
            return lambda module: gptq(module, version=2)
        case "awq", "gemm":
            return awq
        case "compressed-tensors", "pack-quantized":
            return compressed
    raise ValueError(f"cannot read {settings['quant_method']} in the format {form}")


def dense_tensors(folder: Path, unpack_module: Unpack) -> Tensors:
    """A folder's tensors with a dense `weight` of [outputs, inputs] in the place of each packed module."""
    tensors = {}
    for shard in sorted(folder.glob("model*.safetensors")):
        tensors |= load_file(shard)
    packed = [name.rpartition(".") for name in tensors if name.endswith((".qweight", ".weight_packed"))]
    for prefix, _, _ in packed:
        names = [name for name in tensors if name.rpartition(".")[0] == prefix and not name.endswith(".bias")]
        module = {name.rpartition(".")[2]: tensors.pop(name) for name in names}
        tensors[f"{prefix}.weight"] = unpack_module(module)
    return tensors


def dense_model(folder: Path, unpack_module: Unpack | None = None) -> torch.nn.Module:
    config = AutoConfig.from_pretrained(folder)
    tensors = dense_tensors(folder, unpack_module or unpacker(config.quantization_config))
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    tied = ["lm_head.weight"] if config.tie_word_embeddings else []
    if unexpected or set(missing) - set(tied):
        raise ValueError(f"{folder}: unexpected {unexpected}, missing {missing}")
    if missing:
        model.tie_weights()
    return model.eval()
