"""Makes fixtures/quant/nf4.safetensors: a matrix as bitsandbytes rounds it to NF4.

    pip install bitsandbytes==0.50.2 torch==2.13.0 safetensors==0.8.0
    python scripts/make_nf4_fixture.py

Written with exactly these on a CPU, double quantisation on. Rows differ in size by a factor of
a thousand, one block is zero, and the 320 blocks are more than one block of block maxima.
"""

from pathlib import Path

import torch
from bitsandbytes import functional
from safetensors.torch import save_file

ROWS, COLUMNS, BLOCK = 40, 512, 64
OUTPUT = Path(__file__).resolve().parent.parent / "fixtures" / "quant" / "nf4.safetensors"


def main() -> None:
    torch.manual_seed(11)
    sizes = torch.logspace(-3, 0, ROWS).unsqueeze(1)
    weight = (torch.randn(ROWS, COLUMNS) * sizes).bfloat16()
    weight[3, BLOCK : 2 * BLOCK] = 0
    packed, state = functional.quantize_4bit(
        weight.float(), blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
    )
    tensors = {
        "weight": weight,
        "codes": packed.reshape(-1),
        "absmax": state.absmax,
        "nested_absmax": state.state2.absmax,
        "offset": state.offset.reshape(1),
        "book": state.code,
        "nested_book": state.state2.code,
        "dequantized": functional.dequantize_4bit(packed, state),
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, OUTPUT)
    for name, tensor in tensors.items():
        print(name, tuple(tensor.shape), tensor.dtype)


if __name__ == "__main__":
    main()
