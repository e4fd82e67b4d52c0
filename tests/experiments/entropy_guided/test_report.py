"""The rules of `report.py` on made-up figures, and what it prints and draws of those that are there."""

import math
from pathlib import Path

import numpy as np
import pytest

from jattn.training.sweeps import listed, reports

FOLDER = Path(__file__).parents[3] / "experiments" / "entropy_guided"
report = listed.executed(FOLDER / "report.py")
RUN = report.RUN
# nats per byte that would hold to every rule of order
ORDER = {
    "SM+LN+G": 2.0, "SM+LN+R": 2.1, "SM+R": 2.2, "SM+G": 2.3, "SM+LN": 2.4, "SM": math.inf, "SM+ScFFN": 2.5,
    "SM+ScFuFFN": 2.5, "SM(t)+ScFuFFN": 2.5, "SM+weight norm": 2.6, "SM+spectral norm": 2.6, "EReg 0.1": 2.4,
    "EReg 0.2": 2.3, "EReg 0.3": 2.4,
}  # fmt: skip
MIDDLE = [[1.0, 1.2, 1.4, 2.0]]


def result(loss, entropy):
    if math.isinf(loss):
        return {"reached": {"diverged": 3}, "points": [], "machine": {}, "versions": {}}
    reached = {"heldout_loss": loss}
    return {"reached": reached, "points": [{"step": 9, "entropy": entropy}], "machine": {}, "versions": {}}


def found(change=lambda arm, rate, seed, loss: loss, entropy=lambda arm: MIDDLE):
    """What all runs reached: those of the middle rate what ORDER says, the others more."""
    held = []
    for arm, rate, seed in RUN.CELLS:
        loss = ORDER[arm] + 0.01 * seed + (rate != RUN.RATES[1])
        loss = change(arm, rate, seed, loss)
        held.append(None if loss is None else result(loss, entropy(arm)))
    return reports.Found(held, FOLDER)


def verdict(rule, given):
    (name,) = [name for name in report.RULES if name.startswith(f"{rule}.")]
    return report.RULES[name](given)


def test_the_papers_order_holds_to_the_rules():
    for rule in (*range(1, 9), 12):
        assert verdict(rule, found()).held, rule


@pytest.mark.parametrize(
    "rule, arm", [(1, "SM+LN+G"), (2, "SM+LN+R"), (3, "SM+R"), (4, "SM+G"), (6, "SM+ScFFN"), (8, "EReg 0.2")]
)
def test_one_seed_out_of_order_is_told(rule, arm):
    worse = found(lambda name, rate, seed, loss: loss + 0.3 * (name == arm and seed == 2))
    assert verdict(rule, worse).held is False


def test_a_block_is_judged_by_its_best_rate():
    # better at another rate, from one seed alone: the mean decides
    lucky = found(lambda arm, rate, seed, loss: 0.5 if (arm, rate, seed) == ("SM+LN+G", 1e-2, 1) else loss)
    assert report.best(lucky, "SM+LN+G").rate == 3e-3
    diverges = found(lambda arm, rate, seed, loss: math.inf if rate == 3e-3 and seed == 0 else loss)
    assert report.best(diverges, "SM+LN+G").rate == 1e-3


def test_one_finite_run_of_softmax_alone_is_told():
    one = found(lambda arm, rate, seed, loss: 3.0 if (arm, rate, seed) == ("SM", 1e-3, 0) else loss)
    assert verdict(5, found()).held and verdict(5, one) == (False, "8 of 9 runs")


def test_heads_are_counted_by_quarters_of_their_own_model():
    heads = {"SM+G": [[0.0, 4.0, 4.0, 4.0]], "SM+R": [[1.9, 1.1, 1.2, 2.0]], "SM+LN+G": MIDDLE}
    given = found(entropy=lambda arm: heads.get(arm, MIDDLE))
    np.testing.assert_allclose(report.shares(report.best(given, "SM+G")), [0.25, 0, 0, 0.75])
    assert verdict(9, given) == (True, "75% beside 50%")
    assert verdict(10, given) == (False, "75%")
    assert verdict(10, found(entropy=lambda arm: [[1.0, 1.0, 1.2, 1.2, 1.4, 2.0]])).held


@pytest.mark.parametrize("high, held", [((2.0, 3.0, 4.0), True), ((2.0, 4.0, 3.0), False)])
def test_the_top_quarter_may_not_shrink_as_the_band_grows(high, held):
    heads = {
        name: [[4.0 if n < count else 2.0 for n in range(4)]]
        for name, count in zip(report.TOLERANCES, high, strict=True)
    }
    assert verdict(11, found(entropy=lambda arm: heads.get(arm, MIDDLE))).held is held


def test_a_missing_run_opens_the_rules_of_its_block_and_the_verdict():
    given = found(lambda arm, rate, seed, loss: None if (arm, rate, seed) == ("SM+LN+R", 1e-2, 2) else loss)
    assert verdict(1, given) == report.OPEN and verdict(3, given).held
    told = report.text(given)
    assert told.startswith("**Not yet decided: 1 runs are missing.**") and "| SM+LN+R | 0.003 | 2.100 2.110 |" in told


def test_a_picture_is_drawn_of_nothing_and_of_all(tmp_path):
    for number, given in enumerate((found(lambda *cell: None), found())):
        report.picture(given).savefig(file := tmp_path / f"{number}.png", dpi=40)
        assert file.stat().st_size > 1000
