#!/bin/sh
# Adapters of every variant, made here, in PEFT: the same tensors and the same logits; and their portable forms also by
# vLLM's rules.
#
#     scripts/peers/check_adapters.sh PYTHON > scripts/peers/check_adapters.md
#
# PYTHON is one with scripts/requirements.txt. Build first: cargo build --release -p limbeck, and --example
# write_adapter of -p limbeck-lora.
set -eu
python=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "# Adapters made here, in PEFT"
echo
echo "\`scripts/peers/check_adapters.sh\`, $(date +%F), $(uname -m), $("$python" -c '
import peft, torch, transformers
print(f"PEFT {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}, float32")')."
echo "Differences are between the logits that limbeck and PEFT compute with the same folder."
for base in qwen2 qwen2_untied gemma3; do
    target/release/examples/write_adapter "fixtures/parity/$base" "$work/$base" >&2
    echo
    echo "\`fixtures/parity/$base\`:"
    echo
    for adapter in "$work/$base"/*; do
        name=$(basename "$adapter")
        printf -- '- '
        "$python" scripts/peers/check_adapter.py --base "fixtures/parity/$base" --adapter "$adapter" \
            --logits "$adapter/logits.safetensors" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
        case $name in dora | saved) continue ;; esac
        target/release/limbeck lora export --portable --adapter "$adapter" --output "$work/$base-portable/$name" 2>/dev/null
        printf -- '  - portable: '
        "$python" scripts/peers/check_adapter.py --base "fixtures/parity/$base" --adapter "$work/$base-portable/$name" \
            --logits "$adapter/logits.safetensors" --vllm 16 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
    done
done
