"""Holds our scorers against lm-eval's and math-verify's, verdict by verdict.

    evaluate_scorers.py SOLUTIONS SCORE_REPLIES [ANSWERS]

SOLUTIONS is GSM8K's example_model_solutions.jsonl, SCORE_REPLIES the built example of
crates/evaluate, ANSWERS how many of the solutions' answers math-verify gets (it is slow).

1. lm-eval 0.4.13's own filters and metric, as its gsm8k task sets them, over all solutions (each
   also with its answer rewritten to `#### …`) and a list of traps: strict and flexible.
2. lm-eval's other filters and options of its metric, with patterns of its tasks, over random texts.
3. math-verify 0.9: the pairs of its documentation and others, and the answers of the solutions,
   with the speed of both.

Prints Markdown. Their speed is by the processor's time, ours by the clock, which beside other work
flatters them.
"""

import ast
import json
import platform
import random
import subprocess
import sys
import time

import numpy
import yaml
from lm_eval import tasks
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import MultiChoiceRegexFilter, RegexFilter, WhitespaceFilter
from lm_eval.filters.selection import MajorityVoteFilter, TakeFirstFilter, TakeKFilter
from lm_eval.filters.transformation import LowercaseFilter, MapFilter, UppercaseFilter
from math_verify import parse, verify

TRAPS = [
    "#### 18", "#### $18", "####18", "#### 18.00", "#### 18\n\nQuestion: a\nAnswer: b\n#### 19",
    "##### 18", "#### #### 18", "#### -", "#### .", "#### -18", "#### 1,8", "#### 18.", "#### 18..",
    "#### 18 apples", "####  18", "#### \u221218", "#### +18", "#### 18\u0000", "18", "$18", "$ 18",
    "18.", "18 .", "-18", "--18", "18-", "18 - 0", "1 8", "18\n", "\n18.\n", "18.0", "18,", "18,,",
    "1e18", "x18y", "\u0661\u0668", "#### \u0661\u0668", "", " ", "[invalid]", "A: 18", "18/1",
    "The answer is 18%.", "18, $", "18 $$", "18 ..", "18 .,", "$,.", "$$", "5 and 18 and .", "\u00e918",
    "#### 18\r\n", "#### 18\u00a0", "18\u001c", "#### 18$", "#### 18\\$", "so\n####\n18", "#### 18 #### 19",
]
GOLDS = ["#### 18", "a\n#### 18", "#### 1,8", "#### -18", "#### 18.", "#### 18.00", "18", "#### $18",
         "#### 18\n", "x #### 7\n#### 18", "#### \u0130", "#### [INVALID]", "####"]

# Expected answer, answer, what they are: T and F as math-verify has them, W where it is wrong to say
# that they are equal.
PAIRS = [
    ("0.5", r"$\frac12$", "T"), (r"$\frac13$", "0.333333", "T"), (r"$10\%$", "10", "T"),
    (r"$10\%$", "0.1", "T"), ("1,000", "1000", "T"), ("18", "$18.00", "T"), ("5", "$x=5$", "T"),
    ("$x=5$", "$5=x$", "T"), ("$(1,2)$", r"$\{1,2\}$", "T"), ("$1,2$", "$2,1$", "T"),
    ("$1<x<2$", "$(1,2)$", "T"), (r"$\sqrt8$", r"$2\sqrt2$", "T"), ("$(x+1)^2$", "$x^2+2x+1$", "T"),
    ("$2x+3y=6$", "$4x+6y=12$", "T"), (r"$90^\circ$", "90", "T"), (r"$5\text{ cm}^2$", "$5$", "T"),
    (r"$2\frac12$", "2.5", "T"), (r"$\pm3$", r"$\{-3,3\}$", "T"),
    (r"$\begin{pmatrix}1&2\\3&4\end{pmatrix}$", r"$\begin{bmatrix}1&2\\3&4\end{bmatrix}$", "T"),
    (r"$\frac13$", "0.3333", "F"), ("$x=5$", "$y=5$", "F"), ("$5=x$", "5", "F"),
    ("$(1,2)$", "$1<x<2$", "F"), ("$(1,2)$", "$(2,1)$", "F"), (r"$90^\circ$", r"$\pi/2$", "F"),
    ("5", "5.0000001", "F"), ("$-5$", "\u22125", "F"),
    ("0.0000001", "0.0000002", "W"), ("$1/2^{99}$", "$1/2^{98}$", "W"), ("12:30", "12:45", "W"),
    ("$4$", r"$4\sqrt(2)$", "W"), (r"$1-\frac1{\mathrm e}$", r"$1+\frac1{\mathrm e}$", "W"),
]


FILTERS = {
    "regex": RegexFilter, "multi_choice_regex": MultiChoiceRegexFilter, "take_first": TakeFirstFilter,
    "take_first_k": TakeKFilter, "majority_vote": MajorityVoteFilter, "remove_whitespace": WhitespaceFilter,
    "lowercase": LowercaseFilter, "uppercase": UppercaseFilter, "map": MapFilter,
}

# As lm-eval's own tasks have them (BBH, MMLU, MGSM, MATH, belief tasks), and some that Rust reads otherwise.
PATTERNS = [
    r"The answer is (\-?[0-9\.\,]+)", r"The answer is (\-?[0-9\.\,]*[0-9]+)", r"(\([A-Z]\))", r"([-0-9]+)",
    r"((?<=The answer is )(.*)(?=.)|(?<=the answer is )(.*)(?=.)|(?<=The answer: )(.*)(?=.))",
    r"(?<=the answer is )(.*)(?=.)", r"\b(Yes|No|yes|no)\b", r"answer is \(?([ABCDEFGHIJ])\)?", r"([A-E]).*",
    r"The final answer is ((-?[$0-9.,]{2,})|(-?[0-9]+))", r"The answer is (\-?[0-9\.\,]+).",
    r"(?<= )([\" \[\(<{}>\)\]]+)|([\" \[\(<{}>\)\]]+)", r"\\boxed{(.*)}", r"(?s)A(.*)B", r"\.$", r"(?m)^(.)",
    r"[[\]]", r"[^]a]", r"(?i)YES", r"a*", r"(A)?(B)?", r"5{,2}A", r"\d+\Z", r"\s+\S",
]
PIECES = ["The answer is ", "the answer is ", "The answer: ", "The final answer is ", "answer is ", "(A)", "(B)", "A",
          "B", "C", "Yes", "no", "yes", "18", "-5", "1,800.", ".", "\n", " ", "a", "[", "]", "{", "}", "\\boxed{", "\"",
          "$", "(", ")", ":", "\u00e9", "red", "Red wine", "\x1c", "\u00a0", "5", "\u0130"]
CHOICES = ["red", "red wine.", "blue", "A", "No!"]


def random_filters(draw):
    pattern = draw.choice(PATTERNS)
    first = {"function": draw.choice(["regex", "regex", "multi_choice_regex"]), "regex_pattern": pattern,
             "group_select": draw.choice([0, 0, -1])}
    if first["function"] == "multi_choice_regex":
        first |= {"ignore_case": draw.random() < 0.5, "ignore_punctuation": draw.random() < 0.5,
                  "regexes_to_ignore": draw.choice([[], ["wine"], [" ", "e"]])}
    middle = draw.choice([[], [{"function": "remove_whitespace"}], [{"function": "lowercase"}],
                          [{"function": "uppercase"}], [{"function": "majority_vote"}],
                          [{"function": "map", "mapping_dict": {"A": "1", "18": "2"}, "default_value": "0"}]])
    before = draw.choice([[], [], [{"function": "take_first_k", "k": 2}], [{"function": "remove_whitespace"}]])
    return before + [first] + middle + draw.choice([[], [{"function": "take_first"}]])


def filtered(filters, responses):
    documents = [{"choices": CHOICES}] * len(responses)
    for entry in filters:
        options = {key: value for key, value in entry.items() if key != "function"}
        responses = list(FILTERS[entry["function"]](**options).apply(responses, documents))
    return [[answer] if isinstance(answer, str) else list(answer) for answer in responses]


def compare_filters(program):
    draw = random.Random(4)
    text = lambda: "".join(draw.choices(PIECES, k=draw.randrange(8)))
    items, theirs = [], []
    for _ in range(120):
        filters = random_filters(draw)
        responses = [[text() for _ in range(draw.randrange(2, 6))] for _ in range(50)]
        items += [{"filters": filters, "replies": replies, "choices": CHOICES} for replies in responses]
        theirs += filtered(filters, responses)
    for _ in range(5_000):
        metric = {"ignore_case": draw.random() < 0.5, "ignore_punctuation": draw.random() < 0.5,
                  "ignore_numbers": draw.random() < 0.3}
        if draw.random() < 0.5:
            metric["regexes_to_ignore"] = draw.sample(PATTERNS, k=draw.randrange(1, 3))
        left, right = (text()[:draw.randrange(1, 6)] for _ in range(2))
        items.append({"metric": metric, "left": left, "right": right})
        theirs.append(bool(exact_match_hf_evaluate([left], [right], **metric)["exact_match"]))
    found = ours(program, items)
    for kind in ("filters", "metric"):
        chosen = [at for at, item in enumerate(items) if kind in item]
        differing = [at for at in chosen if theirs[at] != found[at]]
        print(f"{kind}: {len(chosen):,} random ones, {len(differing)} differ")
        for at in differing[:20]:
            print("\n   ", items[at], theirs[at], found[at])
    print()


def task():
    """lm-eval's filters and metric of gsm8k, from its own task file."""
    path = tasks.__path__[0] + "/gsm8k/gsm8k.yaml"
    with open(path) as file:
        config = yaml.safe_load(file)
    filters = []
    for entry in config["filter_list"]:
        regex, first = entry["filter"]
        assert regex.pop("function") == "regex" and first == {"function": "take_first"}
        filters.append((entry["name"].split("-")[0], RegexFilter(**regex)))
    [metric] = config["metric_list"]
    options = {key: metric[key] for key in ("ignore_case", "ignore_punctuation", "regexes_to_ignore")}
    return filters, options


def lm_eval_verdicts(items):
    filters, options = task()
    found = []
    for item in items:
        row = {}
        for name, regex in filters:
            [[filtered]] = regex.apply([[item["reply"]]], [{}])
            scores = exact_match_hf_evaluate([filtered], [item["gold"]], **options)
            row[name] = [filtered, bool(scores["exact_match"])]
        found.append(row)
    return found


def ours(program, items, repeats=0):
    lines = "".join(json.dumps(item) + "\n" for item in items)
    command = [program] + ([str(repeats)] if repeats else [])
    out = subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout
    rows = [json.loads(line) for line in out.split("\n") if line]
    return (rows[:-1], rows[-1]) if repeats else rows


def random_texts(count):
    pieces = ["#### ", "####", "#", " ", "-", "$", ",", ".", "1", "8", "18", "\n", "A", "\u00e9",
              "\u0130", "\u0000", "\\", "\u03a3", "Question"]
    draw = random.Random(1)
    return ["".join(draw.choices(pieces, k=draw.randrange(9))) for _ in range(count)]


def solutions(path):
    for line in open(path):
        row = json.loads(line)
        gold = row["ground_truth"]
        for name in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            value = row[name]
            value = ast.literal_eval(value) if isinstance(value, str) else value
            yield gold, value["solution"], value["is_correct"]


def as_marked(text):
    """GSM8K marks answers by `#### ` where these files have `A: `."""
    head, mark, answer = text.rpartition("\nA: ")
    return f"{head}\n#### {answer}" if mark else text


def compare_lm_eval(path, program):
    items, kinds = [], []
    for gold, solution, _ in solutions(path):
        for kind, reply in (("solutions as they are", solution), ("solutions, marked", as_marked(solution))):
            items.append({"reply": reply, "gold": as_marked(gold)})
            kinds.append(kind)
    traps = TRAPS + random_texts(20_000)
    draw = random.Random(2)
    for number, text in enumerate(traps):
        golds = GOLDS if number < len(TRAPS) else [draw.choice(GOLDS + traps)]
        for gold in golds:
            items.append({"reply": text, "gold": gold})
            kinds.append("traps" if number < len(TRAPS) else "random texts")
    started = time.process_time()
    theirs = lm_eval_verdicts(items)
    seconds = time.process_time() - started
    found, speed = ours(program, items, 20)
    print("| replies | number | strict: right | flexible: right | texts that differ | verdicts that differ |")
    print("|---|---|---|---|---|---|")
    shown = []
    for kind in dict.fromkeys(kinds):
        chosen = [at for at, other in enumerate(kinds) if other == kind]
        right = [sum(theirs[at][name][1] for at in chosen) for name in ("strict", "flexible")]
        texts = verdicts = 0
        for at in chosen:
            for name in ("strict", "flexible"):
                texts += theirs[at][name][0] != found[at][name][0]
                verdicts += theirs[at][name][1] != found[at][name][1]
            if theirs[at] != found[at]:
                shown.append((items[at], theirs[at], found[at]))
        print(f"| {kind} | {len(chosen):,} | {right[0]:,} | {right[1]:,} | {texts} | {verdicts} |")
    for row in shown[:20]:
        print("\n   ", row)
    per_second = len(items) / seconds
    rate = speed["gsm8k"]["scored"] / speed["gsm8k"]["seconds"]
    print(f"\nlm-eval: {per_second:,.0f} replies a second (one at a time, as it does); limbeck: {rate:,.0f}.\n")


def math_verify(expected, answer):
    return bool(verify(parse(expected), parse(answer)))


def timed(items):
    started = time.process_time()
    found = [math_verify(item["expected"], item["answer"]) for item in items]
    return found, len(items) / (time.process_time() - started)


def compare_math_verify(path, program, count):
    pairs = [{"expected": expected, "answer": answer} for expected, answer, _ in PAIRS]
    theirs, their_speed = timed(pairs)
    found, speed = ours(program, pairs, 2_000)
    our_speed = speed["meaning"]["scored"] / speed["meaning"]["seconds"]
    wrong = []
    for (expected, answer, truth), right, row in zip(PAIRS, theirs, found):
        listed = truth == "T"
        if (row["verdict"] == "correct") != listed:
            wrong.append(f"{expected} | {answer}: {row['verdict']}")
        assert right == (truth in "TW"), (expected, answer, right)
    print("| pairs | math-verify | limbeck as it should be | math-verify, pairs/s | limbeck, pairs/s | ratio |")
    print("|---|---|---|---|---|---|")
    print(f"| listed | {sum(theirs)} of {len(PAIRS)} equal, 5 of them wrongly | {len(PAIRS) - len(wrong)} of "
          f"{len(PAIRS)} | {their_speed:,.0f} | {our_speed:,.0f} | {our_speed / their_speed:,.0f} |")
    items = []
    for gold, solution, _ in solutions(path):
        answer, last = solution.rpartition("A: ")[1:]
        if answer:
            items.append({"expected": gold.rpartition("A: ")[2].strip(), "answer": last.strip()})
    random.Random(3).shuffle(items)
    items = items[:count]
    theirs, their_speed = timed(items)
    found, speed = ours(program, items, 50)
    our_speed = speed["meaning"]["scored"] / speed["meaning"]["seconds"]
    differing = [(item, right, row["verdict"]) for item, right, row in zip(items, theirs, found)
                 if right != (row["verdict"] == "correct")]
    print(f"| GSM8K answers | {sum(theirs):,} of {len(items):,} equal | {len(items) - len(differing):,} agree | "
          f"{their_speed:,.0f} | {our_speed:,.0f} | {our_speed / their_speed:,.0f} |")
    for line in wrong:
        print("\nnot as listed:", line)
    seen = set()
    for item, right, verdict in differing:
        key = (item["expected"], item["answer"])
        if key not in seen:
            seen.add(key)
            print(f"\n`{item['expected']}` | `{item['answer']}`: math-verify {right}, limbeck {verdict}")


if __name__ == "__main__":
    path, program = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 3_000
    print(f"Python {platform.python_version()}, NumPy {numpy.__version__}\n")
    compare_lm_eval(path, program)
    compare_filters(program)
    compare_math_verify(path, program, count)
