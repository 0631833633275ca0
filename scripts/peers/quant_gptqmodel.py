"""Quantises a model folder with GPTQModel on the CPU.

    python scripts/peers/quant_gptqmodel.py --model DIR --calibration LINES.jsonl --output DIR

LINES are tokens as quant_perplexity.py writes and `limbeck quantize --calibration LINES` reads them. What no flag sets
is as GPTQModel has it: symmetric, for `gptq` damping 0.05 and group-aware order. `rtn` rounds to nearest and looks at
no data.

GPTQModel 7.7 calibrates all layers of Gemma 3 with the rotary positions and the mask of the first, a sliding one.
`--repair-gemma3` gives each layer its own positions (the mask is the same up to the window's length). `awq` stops at
Gemma 3's positions, and would spoil the model: it folds scales into w where the norm has 1 + w, and into a norm that
does not stand before the projections.

Printed as JSON: the seconds of quantising alone (by the clock, and of all threads' work, which a busy machine does not
change), the process's peak memory (saving included), the bytes of the folder's tensors.
Packages: requirements-quant.txt.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import torch
from quant_load import read_lines

# GPTQModel's pool of loaders asks for two workers whatever the machine, its default on two cores is one.
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")


def absolute(path: str) -> Path:
    return Path(path).resolve()


def settings(options: argparse.Namespace) -> dict:
    table = {"bits": options.bits, "group_size": options.group_size, "sym": not options.asymmetric}
    match options.method:
        case "awq":
            table["method"] = "awq"
        case "rtn":
            table["weight_only"] = {"method": "rtn"}
    # Version 1 of the format has no zero of 0.
    if options.asymmetric and options.method != "awq":
        table["format"] = "gptq_v2"
    return table


def repair_gemma3(model) -> None:
    config = model.model.config
    rotary = type(model.model.model.rotary_emb)(config)

    def replay(layer, layer_input, additional_inputs, target_device):
        hidden, layer_type = layer_input[0], config.layer_types[layer.self_attn.layer_idx]
        positions = torch.arange(hidden.shape[1]).unsqueeze(0)
        additional_inputs["position_embeddings"] = rotary(hidden, positions, layer_type)
        return additional_inputs

    model.prepare_layer_replay_kwargs = replay


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=absolute, required=True)
    parser.add_argument("--calibration", type=absolute, required=True)
    parser.add_argument("--output", type=absolute, required=True)
    parser.add_argument("--method", choices=["gptq", "awq", "rtn"], default="gptq")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--asymmetric", action="store_true")
    parser.add_argument("--repair-gemma3", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.chdir(tempfile.mkdtemp(prefix="gptqmodel-"))  # it leaves its logs where it is run
    from gptqmodel import GPTQModel, QuantizeConfig

    lines = read_lines(options.calibration)
    calibration = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in lines.values()]
    model = GPTQModel.load(str(options.model), QuantizeConfig(**settings(options)))
    if options.repair_gemma3:
        repair_gemma3(model)
    begun, worked = time.perf_counter(), time.process_time()
    model.quantize(None if options.method == "rtn" else calibration, batch_size=1)
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - worked
    model.save(str(options.output))
    result = {
        "method": options.method,
        **settings(options),
        "repaired": options.repair_gemma3,
        "records": len(lines),
        "tokens": sum(map(len, lines.values())),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "bytes": sum(file.stat().st_size for file in options.output.glob("*.safetensors")),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
