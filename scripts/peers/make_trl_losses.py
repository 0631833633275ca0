"""Writes fixtures/distill/trl_losses.json: TRL's generalised JSD and its gradient.

    scripts/peers/.venv/bin/python scripts/peers/make_trl_losses.py

Random logits of seven rows over forty tokens, two rows masked; `GKDTrainer.generalized_jsd_loss`
in float64 for several beta and temperature. Needs the packages of requirements.txt beside this
file.
"""

import json
import os
from pathlib import Path

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
from trl.experimental.gkd import GKDTrainer

TARGET = Path(__file__).resolve().parents[2] / "fixtures/distill/trl_losses.json"
LABELS = [3, -100, 17, 39, -100, 0, 8]


def main() -> None:
    torch.manual_seed(0)
    student, teacher = (
        (scale * torch.randn(len(LABELS), 40, dtype=torch.float64) * 1000).round() / 1000
        for scale in (1.0, 3.0)
    )
    cases = []
    for beta in (0.0, 0.1, 0.5, 0.9, 1.0):
        for temperature in (1.0, 2.0, 5.0):
            leaf = student.clone().requires_grad_()
            loss = GKDTrainer.generalized_jsd_loss(
                leaf[None], teacher[None], torch.tensor([LABELS]), beta, temperature
            )
            loss.backward()
            case = {"beta": beta, "temperature": temperature, "loss": loss.item()}
            # Of each row, its first and its last token's.
            cases.append({**case, "gradient": leaf.grad[:, [0, -1]].tolist()})
    fixture = {
        "student": student.tolist(),
        "teacher": teacher.tolist(),
        "labels": LABELS,
        "cases": cases,
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(fixture) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
