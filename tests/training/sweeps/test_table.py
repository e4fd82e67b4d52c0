"""Tests that the table says of each run what it reached and how it stands."""

import json

from jattn.training.run import Run
from jattn.training.sweeps import names, results
from jattn.training.sweeps.table import table


def test_a_row_a_run_and_a_column_a_field_that_differs(tmp_path):
    plans = names.planned([Run(seed=seed, steps=1000 + seed) for seed in range(5)], tmp_path / "runs", tmp_path)
    run = names.portable(json.loads(plans[0].run.to_json()))
    reached = {"heldout_loss": 2.34567, "train_loss": 12.1, "steps": 1000, "seconds": 70.25}
    digest = names.digest(plans[0].run)
    results.write(plans[0].result, {"digest": digest, "run": run, "reached": reached, "points": []})
    none = {"heldout_loss": None, "train_loss": None, "steps": 7, "seconds": 1.5, "diverged": 8}
    last = {"digest": names.digest(plans[4].run), "run": names.portable(json.loads(plans[4].run.to_json()))}
    results.write(plans[4].result, {**last, "reached": none, "points": []})
    for planned in plans[1:3]:
        planned.directory.mkdir(parents=True)
        (planned.directory / "run.json").touch()
    (plans[2].directory / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.0}\n{"st')
    assert table(plans, {2: "why"}).splitlines() == [
        "run  steps  seed  training loss  held-out loss  steps done  seconds  state",
        "0    1000   0           12.1000         2.3457       1,000     70.2  done",
        "1    1001   1                 -              -           0        -  begun",
        "2    1002   2                 -              -           2        -  failed",
        "3    1003   3                 -              -           0        -  waiting",
        "4    1004   4                 -              -           7      1.5  diverged",
    ]
