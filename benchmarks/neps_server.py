"""Answers for NePS, in an environment of its own: it wants older packages than this project.

    python -m venv neps-env && neps-env/bin/pip install neural-pipeline-search
    python -m benchmarks.search TABLE... --neps neps-env/bin/python

Imports nothing of batchfront. Reads lines of JSON: first what is searched, then, after each answer,
what its run has shown up to the epochs that were asked for. Writes lines of JSON: the runs.
"""

import json
import sys
import warnings
from typing import Any

ALGORITHMS = ("moasha", "mo_hyperband", "primo")


def optimizer(asked: dict[str, Any]) -> Any:
    """The algorithm that was asked for, over batch sizes, rates and epochs."""
    import neps
    from neps.space import HPOFloat, HPOInteger, SearchSpace

    space = SearchSpace(
        {
            "log2_batch_size": HPOInteger(*asked["log2_batch_size"]),
            "learning_rate": HPOFloat(*asked["learning_rate"], log=True),
            "epochs": HPOInteger(1, asked["epochs"], is_fidelity=True),
        }
    )
    make = getattr(neps.algorithms, asked["algorithm"])
    return make(space, prior_centers={}) if asked["algorithm"] == "primo" else make(space)


def main() -> None:
    """Serve one search, until its input ends."""
    import neps
    import numpy as np
    import torch

    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever it prints is no answer
    asked = json.loads(sys.stdin.readline())
    np.random.seed(asked["seed"])  # it draws from the global generators
    torch.manual_seed(asked["seed"])
    search = neps.AskAndTell(optimizer(asked))
    while True:
        trial = search.ask()
        told = {**trial.config, "id": trial.id, "before": trial.metadata.previous_trial_id}
        print(json.dumps(told), file=answers, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        values = json.loads(line)
        search.tell(trial.id, {"objective_to_minimize": values, "cost": values[1]})


if __name__ == "__main__":
    main()
