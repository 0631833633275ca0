"""Loads a packed model folder, or a GGUF file, in what is meant to read it, and compares logits.

    python scripts/peers/quant_load.py --model DIR --logits FILE.safetensors --tokens LINES.jsonl --reader gptqmodel

LINES has a JSON object with `id` and `tokens` a line, FILE float32 logits [tokens, vocabulary] under each id, as
`limbeck score --input LINES --output SCORED --logits FILE` reads and writes them (SCORED serves as LINES as well).
Readers:

- `gptqmodel`: GPTQModel on the CPU, its torch kernels (GPTQ and AWQ);
- `transformers`: `from_pretrained` (dense models; GPTQ and AWQ through GPTQModel; compressed-tensors; GGUF files,
  dequantised);
- `autoawq`, `compressed-tensors`: every matrix by their own unpacking in float32, the rest by transformers;
- `own`: quant_dequantize.py beside this file;
- `llama.cpp`: llama-cpp-python.

Prints for each id the largest difference as a share of the largest logit, and at how many positions both have the
same first token. Exits with 1 if a share is above the tolerance, which float32 readers keep. Others round: GPTQModel's
AWQ, what transformers loads through GPTQModel, and asymmetric compressed-tensors there to 16 bits (5e-3, whole rows as
one group 5e-2), llama.cpp activations to 8 (0.1). Packages: requirements-quant.txt.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from quant_dequantize import Tensors, dense_model
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, CompressedTensorsConfig

# GPTQModel's pool of loaders asks for two workers whatever the machine, its default on two cores is one.
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
Logits = Callable[[list[int]], torch.Tensor]


def read_lines(path: Path) -> dict[str, list[int]]:
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {line["id"]: line["tokens"] for line in lines}


def of_model(model: torch.nn.Module) -> Logits:
    @torch.inference_mode()
    def logits(tokens: list[int]) -> torch.Tensor:
        return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].float()

    return logits


def gptqmodel(path: Path) -> Logits:
    from gptqmodel import BACKEND, GPTQModel

    torch._dynamo.config.disable = True  # it compiles each layer's dequantisation, for minutes
    # Its loader refuses float32, its GPTQ kernel then computes in whatever it is cast to, its AWQ kernel in float16.
    loaded = GPTQModel.load(str(path), device="cpu", backend=BACKEND.TORCH, dtype=torch.float16)
    return of_model(loaded.model.float().eval())


def transformers(path: Path) -> Logits:
    if path.suffix == ".gguf":
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        return of_model(model.eval())
    settings = getattr(AutoConfig.from_pretrained(path), "quantization_config", {})
    groups = settings.get("config_groups", {}).values()
    options = {}
    if any(not group["weights"]["symmetric"] for group in groups):
        # Left packed it does not load: compressed-tensors 0.20 makes no room for packed zero points.
        options["quantization_config"] = CompressedTensorsConfig(dequantize=True)
    return of_model(AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **options).eval())


def compressed_tensors(path: Path) -> Logits:
    from compressed_tensors.compressors import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationScheme

    groups = AutoConfig.from_pretrained(path).quantization_config["config_groups"]
    (scheme,) = map(QuantizationScheme.model_validate, groups.values())

    def unpack(module: Tensors) -> torch.Tensor:
        module = module | {"weight_scale": module["weight_scale"].float()}
        return PackedQuantizationCompressor.decompress(module, scheme)["weight"]

    return of_model(dense_model(path, unpack))


def autoawq(path: Path) -> Logits:
    from awq.utils.packing_utils import dequantize_gemm

    def unpack(module: Tensors) -> torch.Tensor:
        scales = module["scales"].float()
        group_size = len(module["qweight"]) // len(scales)
        return dequantize_gemm(module["qweight"], module["qzeros"], scales, 4, group_size).T

    return of_model(dense_model(path, unpack))


def own(path: Path) -> Logits:
    return of_model(dense_model(path))


def llama_cpp(path: Path) -> Logits:
    from llama_cpp import Llama

    model = Llama(str(path), n_ctx=2048, n_threads=torch.get_num_threads(), logits_all=True, verbose=False)

    def logits(tokens: list[int]) -> torch.Tensor:
        model.reset()
        model.eval(tokens)
        return torch.from_numpy(model.scores[: len(tokens)].copy())

    return logits


READERS = {
    "gptqmodel": gptqmodel,
    "transformers": transformers,
    "compressed-tensors": compressed_tensors,
    "autoawq": autoawq,
    "own": own,
    "llama.cpp": llama_cpp,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--logits", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--reader", choices=READERS, required=True)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    expected = load_file(options.logits)
    compute = READERS[options.reader](options.model)
    failed = False
    for name, tokens in read_lines(options.tokens).items():
        ours, theirs = expected[name], compute(tokens)
        share = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        same = (ours.argmax(-1) == theirs.argmax(-1)).sum().item()
        good = share <= options.tolerance
        failed |= not good
        print(
            f"{options.model.name} in {options.reader}, {name}: largest difference {share:.1e} of the largest "
            f"logit, same first token at {same} of {len(tokens)} positions: {'ok' if good else 'FAILED'}",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
