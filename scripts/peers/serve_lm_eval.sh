#!/usr/bin/env bash
# lm-eval 0.4.13 against a running server: a task that generates, in gsm8k's form, and one
# that compares log-likelihoods. Both on problems that are made here, so nothing is downloaded.
#
#   limbeck serve --model fixtures/student &
#   scripts/peers/serve_lm_eval.sh http://127.0.0.1:8000 OUTPUT_FOLDER fixtures/student
#
# With the model's folder, what lm-eval got is compared with `limbeck score` and `limbeck generate`.
#
# Needs requirements-serve.txt.
set -euo pipefail

url=${1:?the address of a running server, such as http://127.0.0.1:8000}
output=${2:?a folder for the results}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$output/tasks"
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TOKENIZERS_PARALLELISM=false

python3 "$here/serve_lm_eval_tasks.py" "$output/tasks"
model=$(python3 -c 'import json, sys, urllib.request
print(json.load(urllib.request.urlopen(sys.argv[1] + "/v1/models"))["data"][0]["id"])' "$url")

arguments="model=$model,base_url=$url/v1/completions,num_concurrent=8,max_retries=2"
# The server's own tokenizer: lm-eval needs none of the Hub's.
arguments+=",tokenizer_backend=remote,tokenized_requests=True,max_length=1024"
lm_eval --model local-completions --model_args "$arguments" --include_path "$output/tasks" \
  --tasks limbeck_gsm8k_form,limbeck_loglikelihood --batch_size 8 --seed 1234 \
  --log_samples --output_path "$output"
[ -z "${3:-}" ] || python3 "$here/serve_lm_eval_check.py" --limbeck "$here/../../target/release/limbeck" --model "$3" "$output/$model"
