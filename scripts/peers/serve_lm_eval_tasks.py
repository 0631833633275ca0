"""Writes two small lm-eval tasks with their problems: `limbeck_gsm8k_form` (generation, gsm8k's
prompt form and filters) and `limbeck_loglikelihood` (multiple choice).

    python3 scripts/peers/serve_lm_eval_tasks.py FOLDER
"""

import json
import random
import sys
from pathlib import Path

GENERATE = """task: limbeck_gsm8k_form
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: generate_until
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    ignore_punctuation: false
    regexes_to_ignore:
      - ","
      - "\\\\$"
      - "(?s).*#### "
      - "\\\\.$"
generation_kwargs:
  until:
    - "Question:"
    - "</s>"
    - "<|im_end|>"
  max_gen_toks: 200
  do_sample: false
  temperature: 0.0
repeats: 1
num_fewshot: 0
filter_list:
  - name: strict-match
    filter:
      - function: regex
        regex_pattern: "#### (\\\\-?[0-9\\\\.\\\\,]+)"
      - function: take_first
  - name: flexible-extract
    filter:
      - function: regex
        group_select: -1
        regex_pattern: "(-?[$0-9.,]{{2,}})|(-?[0-9]+)"
      - function: take_first
metadata:
  version: 1.0
"""

CHOOSE = """task: limbeck_loglikelihood
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{label}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


def main():
    folder = Path(sys.argv[1]).resolve()
    draw = random.Random(7)
    generated, chosen = [], []
    for _ in range(16):
        start, add, take = draw.randint(10, 60), draw.randint(2, 40), draw.randint(2, 9)
        question = f"Start with {start}. Add {add}. Take away {take}. What is the result?"
        result = start + add - take
        generated.append({"question": question, "answer": f"{start} + {add} - {take} = {result}\n#### {result}"})
        choices = [f" {result}", f" {result + 1}", f" {result - 10}", f" {result + 7}"]
        label = draw.randrange(4)
        choices[0], choices[label] = choices[label], choices[0]
        chosen.append({"question": question, "choices": choices, "label": label})
    for name, template, rows in [("generate", GENERATE, generated), ("choose", CHOOSE, chosen)]:
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / f"{name}.yaml").write_text(template.format(data=data))


if __name__ == "__main__":
    main()
