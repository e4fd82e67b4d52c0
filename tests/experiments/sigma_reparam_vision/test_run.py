"""Every arm has as many rates, and the arms differ in what the page says."""

from pathlib import Path

from jattn.training.sweeps import listed

run = listed.executed(Path(__file__).parents[3] / "experiments" / "sigma_reparam_vision" / "run.py")


def test_the_arms_differ_in_what_the_page_says():
    usual, ours, neither, norms = (run.ARMS[arm] for arm in run.ARMS)
    assert {len(rates) for _, _, rates in run.ARMS.values()} == {5}
    assert len(run.GRID) == 40 and not set(run.GRID_SEEDS) & set(run.SEEDS)
    assert usual[0] == norms[0] and usual[0].norm == "layer" and usual[1].decay and usual[1].warm_up
    assert ours[1] == neither[1] == norms[1] and ours[1].warm_up == 0 and "decay" not in str(ours[1].arguments)
    assert ours[0].norm == neither[0].norm == "none"
    assert type(neither[0].reparametrization).__name__ == "Plain" != type(ours[0].reparametrization).__name__
    for (arm, rate, seed), each in run.CELLS.items():
        assert each == run.made(arm, rate, seed) and (each.optimizer.rate, each.seed) == (rate, seed)
