#!/bin/sh
# Quality, time and memory of quantising beside GPTQModel, on the same tokens.
#
#     scripts/peers/quant.sh PYTHON gemma3 MODEL GSM8K WORK > table.md
#     scripts/peers/quant.sh PYTHON qwen2 fixtures/teacher - WORK > table.md
#
# PYTHON has scripts/peers/requirements-quant.txt; MODEL is a Hugging Face folder; GSM8K a folder with train.jsonl and
# test.jsonl; WORK a folder to make models in (4 GB). Build first: cargo build --release -p limbeck. Perplexity is
# computed by `limbeck score` for all folders, GPTQModel's too: of GSM8K's test file and of generated chains of all
# families for Gemma 3, of generated chains for the fixture teacher, which knows no others and of which the KL to the
# dense model says more: packed, it is less sure of itself and may be better calibrated. Seconds of CPU are of all threads:
# they tell more than the clock where a machine is shared.
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
# Whether a row is among those that ONLY names, a pattern of grep; all are without it.
wanted() {
    echo "$1" | grep -q "${ONLY:-.}"
}
# A number of what quant_perplexity.py prints.
figure() {
    key=$1
    shift
    # shellcheck disable=SC2086
    "$python" -W ignore "$peers/quant_perplexity.py" "$@" $after | sed "s/.*\"$key\": *\([0-9.e-]*\).*/\1/"
}
score() {
    rm -f scored.jsonl "$2"
    # shellcheck disable=SC2086
    "$limbeck" score --model "$1" --output scored.jsonl --input "$3-lines.jsonl" $4 2> score.log
}
row() {
    name=$1 folder=$2 cost=$3
    case $family in
    gemma3)
        score "$folder" - held ""
        other=$(printf %.3f "$(figure perplexity scored scored.jsonl)")
        score "$folder" - test ""
        ;;
    qwen2)
        logits=logits-$folder.safetensors
        [ "$folder" != "$model" ] || logits=logits-dense.safetensors
        score "$folder" "$logits" test "--logits $logits"
        other=$(printf %.5f "$(figure kl divergence scored.jsonl --of logits-dense.safetensors "$logits")")
        ;;
    esac
    own=$(printf %.4f "$(figure perplexity scored scored.jsonl)")
    bytes=$(du -b "$folder/model.safetensors" | cut -f1)
    echo "| $name | $own | $other | $((bytes / 100000))e5 | $cost |" | sed 's/ \([0-9]*\)\([0-9]\)e5 / \1.\2 MB /'
}
ours() {
    name=$1
    shift
    wanted "$name" || return 0
    rm -rf ours
    /usr/bin/time -o time.log -f '%e %U %S %M' "$limbeck" quantize --model "$model" --calibration train-lines.jsonl --output ours "$@" 2> quantize.log
    row "$name" ours "$(awk '{printf "%.0f s, %.0f s of CPU | %.2f GB", $1, $2 + $3, $4 * 1024 / 1e9}' time.log)"
}
theirs() {
    name=$1
    shift
    wanted "$name" || return 0
    rm -rf theirs
    "$python" -W ignore "$peers/quant_gptqmodel.py" --model "$model" --calibration train-lines.jsonl --output theirs --threads ${THREADS:-2} "$@" > theirs.json 2> theirs.log
    row "$name" theirs "$("$python" -c 'import json
run = json.loads(open("theirs.json").read().splitlines()[-1])
print("%.0f s, %.0f s of CPU | %.2f GB" % (run["seconds"], run["cpu_seconds"], run["peak_bytes"] / 1e9))')"
}
header() {
    echo "| model | $1 | $2 | size | quantising | peak memory |"
    echo "|---|---|---|---|---|---|"
    row "dense" "$model" " | "
}
case $family in
gemma3)
    after=
    lines train --records "$gsm8k/train.jsonl" --count 64
    lines test --records "$gsm8k/test.jsonl" --count "${TEST_RECORDS:-64}"
    chains all 20 7
    lines held --records chains-7.jsonl --count "${TEST_RECORDS:-64}"
    header "perplexity, GSM8K test" "perplexity, generated chains"
    ours "limbeck RTN 4, g128" --method rtn --bits 4 --group-size 128
    ours "limbeck AWQ 4, g128" --method awq --bits 4 --group-size 128 --format awq
    theirs "GPTQModel GPTQ 4, g128" --repair-gemma3
    ours "limbeck GPTQ 4, g128" --method gptq --bits 4 --group-size 128
    theirs "GPTQModel GPTQ 4, g32" --group-size 32 --repair-gemma3
    ours "limbeck GPTQ 4, g32" --method gptq --bits 4 --group-size 32
    ours "limbeck GPTQ 4, g128, head 4, g32" --method gptq --bits 4 --group-size 128 --set head_bits=4 --set head_group_size=32
    ours "limbeck GPTQ 8, g128" --method gptq --bits 8 --group-size 128
    ;;
qwen2)
    after='--after 3' # <think>
    chains "arith logic spatial" 400 1
    lines train --records chains-1.jsonl --count 128 --template
    chains "arith logic spatial" 400 2
    lines test --records chains-2.jsonl --count 300 --template
    header "perplexity, chains" "KL to dense, chains"
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
