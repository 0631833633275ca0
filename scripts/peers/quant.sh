#!/bin/sh
# Quality, time and memory of quantising Gemma 3 270M beside GPTQModel, on the same tokens.
#
#     scripts/peers/quant.sh PYTHON MODEL GSM8K WORK > WORK/table.md
#
# PYTHON has scripts/peers/requirements-quant.txt; MODEL is the Hugging Face folder; GSM8K a folder with train.jsonl and
# test.jsonl; WORK a folder to make models in (4 GB). Build first: cargo build --release -p limbeck. Perplexity is of the
# test lines, computed by `limbeck score` for all folders, GPTQModel's too. Seconds of CPU are of all threads: they tell
# more than the clock where a machine is shared.
set -eu
python=$1 model=$2 gsm8k=$3 work=$4
peers=$(cd "$(dirname "$0")" && pwd)
limbeck=$peers/../../target/release/limbeck
mkdir -p "$work"
cd "$work"
lines() { "$python" -W ignore "$peers/quant_perplexity.py" lines --model "$model" --gsm8k "$gsm8k/$1.jsonl" --records "$2" --output "$1-lines.jsonl" >&2; }
row() {
    name=$1 folder=$2 cost=$3
    "$limbeck" score --model "$folder" --input test-lines.jsonl --output scored.jsonl 2> score.log
    perplexity=$("$python" "$peers/quant_perplexity.py" scored scored.jsonl | sed 's/.*"perplexity": *\([0-9.]*\).*/\1/')
    bytes=$(du -b "$folder/model.safetensors" | cut -f1)
    echo "| $name | $perplexity | $((bytes / 1000000)) MB | $cost |"
}
ours() {
    name=$1
    shift
    rm -rf ours
    /usr/bin/time -o time.log -f '%e %U %S %M' "$limbeck" quantize --model "$model" --calibration train-lines.jsonl --output ours "$@" 2> quantize.log
    row "$name" ours "$(awk '{printf "%.0f s, %.0f s of CPU | %.2f GB", $1, $2 + $3, $4 / 1e6}' time.log)"
}
theirs() {
    name=$1
    shift
    rm -rf theirs
    /usr/bin/time -o time.log -f '%e %U %S %M' "$python" -W ignore "$peers/quant_gptqmodel.py" --model "$model" --gsm8k "$gsm8k/train.jsonl" --records 64 --calibration theirs-lines.jsonl --output theirs --repair-gemma3 "$@" > theirs.json 2> theirs.log
    row "$name" theirs "$("$python" -c 'import json
run = json.loads(open("theirs.json").read().splitlines()[-1])
print("%.0f s, %.0f s of CPU | %.2f GB" % (run["seconds"], run["cpu_seconds"], run["peak_bytes"] / 1e9))')"
}
lines train 64
lines test "${TEST_RECORDS:-64}"
echo "| model | perplexity | size | quantising | peak memory |"
echo "|---|---|---|---|---|"
row "bfloat16" "$model" " | "
theirs "GPTQModel GPTQ 4, g128"
ours "limbeck GPTQ 4, g128" --method gptq --bits 4 --group-size 128
ours "limbeck GPTQ 4, g128, order = groups" --method gptq --bits 4 --group-size 128 --set order=groups
ours "limbeck RTN 4, g128" --method rtn --bits 4 --group-size 128
ours "limbeck GPTQ 8, g128" --method gptq --bits 8 --group-size 128
ours "limbeck GPTQ 4, g128, head 4, g32" --method gptq --bits 4 --group-size 128 --set head_bits=4 --set head_group_size=32
theirs "GPTQModel AWQ 4, g128" --method awq
ours "limbeck AWQ 4, g128" --method awq --bits 4 --group-size 128 --format awq
theirs "GPTQModel GPTQ 4, g32" --group-size 32
ours "limbeck GPTQ 4, g32" --method gptq --bits 4 --group-size 32
