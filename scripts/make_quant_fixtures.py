"""Writes fixtures/quant/gptq.safetensors: weights that GPTQModel packed, and what it unpacks them to.

    python scripts/make_quant_fixtures.py           # versions: scripts/requirements.txt, and gptqmodel 7.7.0

Scales, zeros and codes are drawn here; GPTQModel's linear layer packs them, converts version 2 to version 1 of the
format where asked, and dequantises.
"""

from pathlib import Path
from types import SimpleNamespace

import torch
from gptqmodel.nn_modules.qlinear.torch import TorchLinear
from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module
from safetensors.torch import save_file

PATH = Path(__file__).resolve().parent.parent / "fixtures" / "quant" / "gptq.safetensors"
OUT, IN = 16, 64

# name: bits, group size, symmetric, order of activation, version of the format
CASES = {
    "four_bits": (4, 32, True, False, 1),
    "four_bits_v2": (4, 32, True, False, 2),
    "four_bits_asymmetric_v1": (4, 32, False, False, 1),
    "four_bits_asymmetric_v2": (4, 16, False, False, 2),
    "four_bits_act_order": (4, 16, True, True, 1),
    "eight_bits": (8, 64, True, False, 1),
    "eight_bits_asymmetric_v2": (8, 32, False, False, 2),
}


def pack(bits, group_size, symmetric, act_order, version, generator):
    groups = IN // group_size
    lowest = 1 if version == 1 else 0  # version 1 cannot hold a zero of 0
    zeros = torch.full((OUT, groups), 2 ** (bits - 1))
    if not symmetric:
        zeros = torch.randint(lowest, 2**bits, (OUT, groups), generator=generator)
        zeros[0, 0], zeros[1, 0] = lowest, 2**bits - 1
    scales = (torch.rand(OUT, groups, generator=generator) * 0.05 + 0.01).half().float()
    if symmetric:
        scales[0, 0] *= -1  # allowed by the format, and what our quantiser writes
    group_of = torch.arange(IN) // group_size
    if act_order:
        group_of = group_of[torch.randperm(IN, generator=generator)]
    codes = torch.randint(0, 2**bits, (OUT, IN), generator=generator)
    weight = (codes - zeros[:, group_of]) * scales[:, group_of]

    linear = torch.nn.Linear(IN, OUT, bias=False)
    linear.weight.data = weight
    layer = TorchLinear(
        bits=bits,
        group_size=group_size,
        sym=symmetric,
        desc_act=act_order,
        in_features=IN,
        out_features=OUT,
        bias=False,
    )
    layer.pack_original(linear, scales, zeros.float(), group_of.int())
    layer.post_init()
    dequantized = layer.dequantize_weight().T.float().contiguous()
    # Products of scales and codes are exact in fp32 and rounded to f16 there.
    assert torch.equal(dequantized, weight.half().float())
    if version == 1:
        convert_gptq_v2_to_v1_format_module(layer, SimpleNamespace(bits=bits, pack_dtype=torch.int32))
    return {
        "qweight": layer.qweight,
        "qzeros": layer.qzeros,
        "scales": layer.scales,
        "g_idx": layer.g_idx,
        "expected": dequantized,
    }


def main():
    generator = torch.Generator().manual_seed(20)
    tensors = {}
    for name, case in CASES.items():
        for suffix, tensor in pack(*case, generator).items():
            tensors[f"{name}.{suffix}"] = tensor.detach().clone().contiguous()
    PATH.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, PATH)


if __name__ == "__main__":
    with torch.no_grad():
        main()
