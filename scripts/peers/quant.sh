#!/bin/sh
# Quality, time and memory of quantising beside GPTQModel, on the same tokens.
#
#     scripts/peers/quant.sh PYTHON gemma3 MODEL GSM8K WORK > table.md
#     scripts/peers/quant.sh PYTHON qwen2 fixtures/teacher - WORK > table.md
#
# PYTHON has scripts/peers/requirements-quant.txt; MODEL is a Hugging Face folder; GSM8K a folder with train.jsonl and
# test.jsonl; WORK a folder to make models in (4 GB). Build first: cargo build --release -p limbeck. Perplexity is
# computed by `limbeck score` for all folders, GPTQModel's too: of GSM8K's test file and of generated chains of all
# families for Gemma 3. Of the fixture teacher, which is surer of its chains than it should be, so that a packed one can
# have a lower perplexity, the KL to the dense model on generated chains; as it depends on the calibration set by a
# third, its mean and range over four of them (SETS names others; 5 is what is measured on). Seconds of CPU are of all
# threads: they tell more than the clock where a machine is shared.
set -eu
python=$1 family=$2 model=$(realpath "$3") gsm8k=$(realpath -m "$4") work=$5
peers=$(cd "$(dirname "$0")" && pwd)
limbeck=${LIMBECK:-$peers/../../target/release/limbeck}
mkdir -p "$work"
cd "$work"

# Chains of families that the model may not have seen, SEED apart.
chains() {
    rm -f records.jsonl
    for name in $1; do
        "$limbeck" data generate --family "$name" --count "$2" --seed "$3" --output family.jsonl 2> data.log
        cat family.jsonl >> records.jsonl
    done
    "$limbeck" data export --format messages --input records.jsonl --output "chains-$3.jsonl" 2> data.log
}
lines() {
    output=$1
    shift
    "$python" -W ignore "$peers/quant_perplexity.py" lines --model "$model" --output "$output-lines.jsonl" "$@" >&2
}
# Whether a row is among those that ONLY names, a pattern of grep -E; all are without it.
wanted() {
    echo "$1" | grep -Eq "${ONLY:-.}"
}
# A number of what quant_perplexity.py prints.
figure() {
    key=$1
    shift
    "$python" -W ignore "$peers/quant_perplexity.py" "$@" | sed "s/.*\"$key\": *\([0-9.e-]*\).*/\1/"
}
score() {
    rm -f scored.jsonl "$2"
    # shellcheck disable=SC2086
    "$limbeck" score --model "$1" --output scored.jsonl --input "$3-lines.jsonl" ${THREADS:+--threads "$THREADS"} $4 2> score.log
}
# A line of the table: how far the folder is from the dense model, its size, and what making it cost.
row() {
    name=$1 folder=$2 cost=$3
    score "$folder" - held ""
    other=$(printf %.3f "$(figure perplexity scored scored.jsonl)")
    score "$folder" - test ""
    own=$(printf %.3f "$(figure perplexity scored scored.jsonl)")
    echo "| $name | $own | $other | $(size "$folder") | $cost |"
}
size() {
    echo "$(($(du -b "$1/model.safetensors" | cut -f1) / 100000))" | sed 's/\(.*\)\(.\)/\1.\2 MB/'
}
# The same by KL: `make SET` makes the folder from that calibration set and prints the cost.
row_of_sets() {
    name=$1 folder=$2 make=$3
    case $flags in
    *rtn*) used=1 ;; # looks at none
    *) used=$sets ;;
    esac
    : > figures.log
    for set in $used; do
        cost=$("$make" "train-$set-lines.jsonl")
        score "$folder" logits.safetensors test "--logits logits.safetensors"
        "$python" -W ignore "$peers/quant_perplexity.py" divergence scored.jsonl --of dense.safetensors logits.safetensors --after 3 |
            sed 's/.*"kl": \([^,]*\),.*"changed": \([^,]*\),.*/\1 \2/' >> figures.log
    done
    figures=$(awk 'NR == 1 {low = high = $1} {sum += $1; lines += $2; if ($1 < low) low = $1; if ($1 > high) high = $1}
        END {printf "%.5f (%.5f–%.5f) | %.0f", sum / NR, low, high, lines / NR}' figures.log)
    echo "| $name | $figures | $(size "$folder") | $cost |"
}
quantize_ours() {
    rm -rf ours
    # shellcheck disable=SC2086
    /usr/bin/time -o time.log -f '%e %U %S %M' "$limbeck" quantize --model "$model" --calibration "$1" --output ours $flags 2> quantize.log
    awk '{printf "%.0f s, %.0f s of CPU | %.2f GB", $1, $2 + $3, $4 * 1024 / 1e9}' time.log
}
quantize_theirs() {
    rm -rf theirs
    # shellcheck disable=SC2086
    "$python" -W ignore "$peers/quant_gptqmodel.py" --model "$model" --calibration "$1" --output theirs --threads ${THREADS:-2} $flags > theirs.json 2> theirs.log
    "$python" -c 'import json
run = json.loads(open("theirs.json").read().splitlines()[-1])
print("%.0f s, %.0f s of CPU | %.2f GB" % (run["seconds"], run["cpu_seconds"], run["peak_bytes"] / 1e9))'
}
quantized() {
    maker=$1 name=$2
    shift 2
    wanted "$name" || return 0
    flags=$*
    case $family in
    gemma3) row "$name" "$maker" "$("quantize_$maker" train-lines.jsonl)" ;;
    qwen2) row_of_sets "$name" "$maker" "quantize_$maker" ;;
    esac
}
ours() {
    quantized ours "$@" ${THREADS:+--threads "$THREADS"}
}
theirs() {
    quantized theirs "$@"
}
case $family in
gemma3)
    lines train --records "$gsm8k/train.jsonl" --count 64
    lines test --records "$gsm8k/test.jsonl" --count "${TEST_RECORDS:-64}"
    chains all 20 7
    lines held --records chains-7.jsonl --count "${TEST_RECORDS:-64}"
    echo "| model | perplexity, GSM8K test | perplexity, generated chains | size | quantising | peak memory |"
    echo "|---|---|---|---|---|---|"
    row "dense" "$model" " | "
    ours "limbeck RTN 4, g128" --method rtn --bits 4 --group-size 128
    ours "limbeck AWQ 4, g128" --method awq --bits 4 --group-size 128 --format awq
    theirs "GPTQModel GPTQ 4, g128" --repair-gemma3
    ours "limbeck GPTQ 4, g128" --method gptq --bits 4 --group-size 128
    ours "limbeck GPTQ 4, g128, repaired" --method gptq --bits 4 --group-size 128 --set repair.steps=32 --set repair.texts=2
    ours "limbeck GPTQ 4, g128, repaired, activation checkpointing" --method gptq --bits 4 --group-size 128 --set repair.steps=32 --set repair.texts=2 --set repair.activation_checkpointing=true
    theirs "GPTQModel GPTQ 4, g32" --group-size 32 --repair-gemma3
    ours "limbeck GPTQ 4, g32" --method gptq --bits 4 --group-size 32
    ours "limbeck GPTQ 4, g128, head 4, g32" --method gptq --bits 4 --group-size 128 --set head_bits=4 --set head_group_size=32
    ours "limbeck GPTQ 4, g128, head 4, g32, repaired" --method gptq --bits 4 --group-size 128 --set head_bits=4 --set head_group_size=32 --set repair.steps=32 --set repair.texts=2
    ours "limbeck GPTQ 8, g128" --method gptq --bits 8 --group-size 128
    ;;
qwen2)
    sets=${SETS:-1 2 3 4}
    for set in $sets; do
        chains "arith logic spatial" 400 "$set"
        lines "train-$set" --records "chains-$set.jsonl" --count 128 --template
    done
    chains "arith logic spatial" 400 5
    lines test --records chains-5.jsonl --count 1200 --template
    score "$model" dense.safetensors test "--logits dense.safetensors"
    echo "| model | KL to dense, chains | of 1,200 chains changed | size | quantising | peak memory |"
    echo "|---|---|---|---|---|---|"
    for size in 32 64; do
        theirs "GPTQModel RTN 4, g$size" --method rtn --group-size $size
        ours "limbeck RTN 4, g$size" --method rtn --bits 4 --group-size $size
        theirs "GPTQModel AWQ 4, g$size" --method awq --group-size $size
        ours "limbeck AWQ 4, g$size" --method awq --bits 4 --group-size $size --format awq
        theirs "GPTQModel GPTQ 4, g$size" --group-size $size
        ours "limbeck GPTQ 4, g$size" --method gptq --bits 4 --group-size $size
    done
    ours "limbeck GPTQ 8, g64" --method gptq --bits 8 --group-size 64
    ;;
esac
