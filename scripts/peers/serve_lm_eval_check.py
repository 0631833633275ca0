"""Compares what lm-eval got from a server with what `limbeck score` and `limbeck generate` say of the same model.

    python3 scripts/peers/serve_lm_eval_check.py --limbeck target/release/limbeck --model DIR SAMPLES_FOLDER

SAMPLES_FOLDER has lm-eval's `samples_….jsonl` of the tasks of serve_lm_eval_tasks.py. Log-likelihoods of continuations
must agree within 1e-4, and greedy replies, up to their stop string, to the letter. Ends with 1 if any differ.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def samples(folder: Path, task: str) -> list[dict]:
    file = max(folder.glob(f"samples_{task}_*.jsonl"))
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def run(limbeck: str, command: str, model: str, lines: list[dict], *flags: str) -> dict[str, dict]:
    with tempfile.TemporaryDirectory() as folder:
        given, written = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        given.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        arguments = [limbeck, command, "--model", model, "--input", given, "--output", written, *flags]
        subprocess.run(arguments, check=True, stderr=subprocess.DEVNULL)
        found = map(json.loads, written.read_text(encoding="utf-8").splitlines())
        return {line["id"]: line for line in found}


def likelihoods(options: argparse.Namespace) -> bool:
    pairs = {}
    for sample in samples(options.folder, "limbeck_loglikelihood"):
        answers = sample["resps"]
        for place, arguments in enumerate(sample["arguments"].values()):
            value = answers[place][0][0]
            pairs[f"{sample['doc_id']}-{place}"] = (arguments["arg_0"], arguments["arg_1"], float(value))
    lines = [{"id": f"{name}-{part}", "text": text}
             for name, (context, more, _) in pairs.items()
             for part, text in (("context", context), ("whole", context + more))]
    scored = run(options.limbeck, "score", options.model, lines)
    worst = 0.0
    for name, (_, _, value) in pairs.items():
        start = len(scored[f"{name}-context"]["tokens"])
        worst = max(worst, abs(sum(scored[f"{name}-whole"]["logprobs"][start:]) - value))
    print(f"{len(pairs)} continuations: log-likelihoods within {worst:.1e} of limbeck score's")
    return worst <= 1e-4


def replies(options: argparse.Namespace) -> bool:
    asked = {}
    for sample in samples(options.folder, "limbeck_gsm8k_form"):
        arguments = sample["arguments"]["gen_args_0"]
        asked[str(sample["doc_id"])] = (arguments["arg_0"], arguments["arg_1"], sample["resps"][0][0])
    lines = [{"id": name, "prompt": prompt} for name, (prompt, _, _) in asked.items()]
    longest = str(max(settings["max_gen_toks"] for _, settings, _ in asked.values()))
    generated = run(options.limbeck, "generate", options.model, lines, "--max-new-tokens", longest)
    same = 0
    for name, (_, settings, reply) in asked.items():
        text = generated[name]["text"]
        for stop in settings["until"]:
            text = text.split(stop)[0]
        same += text == reply
    print(f"{same} of {len(asked)} greedy replies are limbeck generate's")
    return same == len(asked)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limbeck", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    good = [likelihoods(options), replies(options)]
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
