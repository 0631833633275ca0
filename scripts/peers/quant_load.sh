#!/bin/sh
# Every format that `limbeck quantize` writes, read by what it is written for: logits beside those of `limbeck score`.
#
#     scripts/peers/quant_load.sh PYTHON MODEL WORK > load.md
#
# PYTHON has scripts/peers/requirements-quant.txt; MODEL is a Hugging Face folder, such as fixtures/teacher; WORK a folder
# to make models in. Build first: cargo build --release -p limbeck. Ends with 1 if a reader differs by more than it rounds
# (quant_load.py says what rounds).
set -eu
python=$1 model=$(realpath "$2") work=$3
peers=$(cd "$(dirname "$0")" && pwd)
limbeck=${LIMBECK:-$peers/../../target/release/limbeck}
mkdir -p "$work"
cd "$work"
failed=0

"$limbeck" data generate --family arith --count 64 --seed 3 --output records.jsonl 2> data.log
"$limbeck" data export --format messages --input records.jsonl --output messages.jsonl 2> data.log
"$python" -W ignore "$peers/quant_perplexity.py" lines --model "$model" --records messages.jsonl --count 64 --output calibration.jsonl
head -n 3 calibration.jsonl > lines.jsonl
: > load.log

# NAME, the flags of `limbeck quantize`, then pairs of a reader and its tolerance.
check() {
    name=$1 flags=$2
    shift 2
    rm -rf "$name" "$name-dense" "$name.safetensors" scored.jsonl
    # shellcheck disable=SC2086
    "$limbeck" quantize --model "$model" --calibration calibration.jsonl --output "$name" --set calibration_tokens_min=256 $flags 2>> load.log
    read=$name scored=$name
    case $flags in
    *gguf*)
        read=$name/model.gguf scored=$name-dense
        "$limbeck" convert --from gguf --to hf --dtype float32 "$read" "$scored" 2>> load.log > convert.log
        ;;
    esac
    "$limbeck" score --model "$scored" --input lines.jsonl --output scored.jsonl --logits "$name.safetensors" 2>> load.log
    while [ $# -gt 0 ]; do
        reader=$1 tolerance=$2
        shift 2
        verdict=ok
        "$python" -W ignore "$peers/quant_load.py" --model "$read" --logits "$name.safetensors" --tokens lines.jsonl \
            --reader "$reader" --tolerance "$tolerance" > checked.log 2>> load.log || { verdict=FAILED failed=1; }
        share=$(sed -n 's/.*difference \([0-9.e-]*\) of.*/\1/p' checked.log | sort -g | tail -n 1)
        same=$(sed -n 's/.*at \([0-9]*\) of \([0-9]*\) positions.*/\1 \2/p' checked.log | awk '{a += $1; b += $2} END {print a " of " b}')
        echo "| \`$flags\` | $reader | $share | $same | $verdict |"
    done
}
echo "| limbeck quantize | reader | largest difference, of the largest logit | same likeliest token | |"
echo "|---|---|---|---|---|"
check gptq4 "--method gptq --bits 4 --group-size 32 --format gptq" gptqmodel 1e-4 transformers 5e-3 own 1e-4
check gptq8 "--method gptq --bits 8 --group-size 64 --format gptq" gptqmodel 1e-4 transformers 5e-3 own 1e-4
check gptq4v2 "--method gptq --bits 4 --group-size 32 --format gptq_v2 --set symmetric=false" gptqmodel 1e-4 own 1e-4
check gptq3 "--method gptq --bits 3 --group-size 32 --format gptq" gptqmodel 1e-4 own 1e-4
check rtn4 "--method rtn --bits 4 --group-size 32 --format gptq" gptqmodel 1e-4 own 1e-4
check awq4 "--method awq --bits 4 --group-size 32 --format awq" gptqmodel 5e-3 transformers 5e-3 autoawq 1e-4 own 1e-4
check ct4 "--method gptq --bits 4 --group-size 32 --format compressed-tensors" transformers 1e-4 compressed-tensors 1e-4 own 1e-4
check ct4zero "--method awq --bits 4 --group-size 32 --format compressed-tensors" transformers 5e-3 compressed-tensors 1e-4 own 1e-4
check ct8 "--method gptq --bits 8 --group-size 64 --format compressed-tensors" transformers 1e-4 compressed-tensors 1e-4 own 1e-4
check gguf4 "--method gptq --bits 4 --group-size 32 --format gguf" llama.cpp 0.1 transformers 1e-4
check gguf8 "--method gptq --bits 8 --group-size 32 --format gguf" llama.cpp 0.1 transformers 1e-4
check gguf4head "--method rtn --bits 4 --group-size 32 --format gguf --set head_bits=4" llama.cpp 0.1 transformers 1e-4
exit $failed
