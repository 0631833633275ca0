"""Holds an evaluation's prompts and verdicts against lm-eval's own on the same replies.

    evaluate_lm_eval.py TASK.yaml SAMPLES.jsonl

TASK.yaml is a task that both read; SAMPLES.jsonl is the file samples_<task>_limbeck.jsonl that
`limbeck evaluate` wrote. lm-eval loads the task, builds the prompts, takes the replies from the
file, and runs its own filters and metrics over them.
"""

import json
import sys
from pathlib import Path

from lm_eval.tasks import TaskManager


def load(path):
    manager = TaskManager(include_path=str(path.parent), include_defaults=False)
    name = next(
        line.split(":", 1)[1].strip() for line in path.read_text().splitlines() if line.startswith("task:")
    )
    loaded = manager.load([name]) if hasattr(manager, "load") else manager.load_task_or_group([name])
    while isinstance(loaded, dict) and name not in loaded:
        loaded = loaded["tasks"] if "tasks" in loaded else next(iter(loaded.values()))
    return loaded[name] if isinstance(loaded, dict) else loaded


def main():
    path, samples = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    ours = {}
    for line in samples.read_text().splitlines():
        row = json.loads(line)
        ours.setdefault(row["doc_id"], {})[row["filter"]] = row
    task = load(path)
    task.set_fewshot_seed(seed=1234)
    task.build_all_requests(limit=None, rank=0, world_size=1)
    chooses = task.OUTPUT_TYPE == "multiple_choice"
    prompts, same_prompts = 0, 0
    for instance in task.instances:
        rows = ours.get(instance.doc_id)
        if rows is None:
            continue
        row = next(iter(rows.values()))
        prompts += 1
        same_prompts += instance.args[0] == row["arguments"]["gen_args_0"]["arg_0"]
        if chooses:
            instance.resps = [(row["filtered_resps"][instance.idx][0], False)]
        else:
            instance.resps = row["resps"][0]
    task._instances = [instance for instance in task.instances if instance.doc_id in ours]
    task.apply_filters()
    names = list(task.instances[0].filtered_resps)
    print(f"{len(ours)} problems, {same_prompts} of {prompts} prompts are the same")
    differ_at_all = same_prompts != prompts
    for name in names:
        by_doc = {}
        for instance in task.instances:
            by_doc.setdefault(instance.doc_id, []).append(instance)
        same, right, differing = 0, 0, []
        for doc_id, instances in by_doc.items():
            instances.sort(key=lambda instance: instance.idx)
            results = [instance.filtered_resps[name] for instance in instances]
            metrics = task.process_results(instances[0].doc, results)
            row = ours[doc_id][name]
            for metric in row["metrics"]:
                theirs = float(metrics[metric])
                if theirs == row[metric]:
                    same += 1
                else:
                    differing.append((doc_id, metric, theirs, row[metric]))
                right += theirs if metric == row["metrics"][0] else 0
        total = same + len(differing)
        print(f"{name}: {same} of {total} verdicts are the same; lm-eval: {int(right)} right of {len(by_doc)}")
        for doc_id, metric, theirs, mine in differing[:20]:
            print(f"  problem {doc_id}, {metric}: lm-eval {theirs}, here {mine}")
        differ_at_all |= bool(differing)
    sys.exit(differ_at_all)


if __name__ == "__main__":
    main()
