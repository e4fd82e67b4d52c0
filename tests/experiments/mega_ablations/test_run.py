"""What `run.py` compares: arms that differ from the whole in one thing."""

from pathlib import Path

from jattn.training.sweeps import listed

RUN = listed.executed(Path(__file__).parents[3] / "experiments" / "mega_ablations" / "run.py")


def test_whole_mega_is_one_run_a_seed():
    assert len(RUN.RUNS) == 18 and len(RUN.CELLS) == 22
    for seed in RUN.SEEDS:
        whole = {RUN.CELLS[arm, seed] for arm in ("expansion 16", "chunk full", "softmax")}
        assert whole == {RUN.LANGUAGE.CELLS["Mega", RUN.RATE, seed]}


def test_each_arm_differs_from_the_whole_in_attention_or_in_the_average():
    whole = RUN.ARMS["softmax"]
    for arm, model in RUN.ARMS.items():
        changed = {name for name in vars(whole) if getattr(model, name) != getattr(whole, name)}
        assert changed <= ({"projection"} if arm.startswith("expansion") else {"attention"})
