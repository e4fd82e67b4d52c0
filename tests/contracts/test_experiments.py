"""Every arm of the swept experiments, through a few steps and the report."""

from pathlib import Path

import pytest

from jattn import cli
from jattn.training.sweeps import listed

HOME = Path(__file__).parents[2] / "experiments"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["entropy_bound", "entropy_collapse", "entropy_guided", "sigma_reparam_depth", "sigma_reparam_vision"]
)
def test_smoke_trains_every_arm_and_reports_on_it(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = (HOME / name / "README.md").read_bytes()
    assert cli.main(["sweep", str(HOME / name / "run.py"), "--smoke"]) == 0
    report = listed.executed(HOME / name / "report.py")
    capsys.readouterr()
    assert report.reports.main(["--smoke"], HOME / name, report.text, report.picture) == 0
    told = capsys.readouterr().out
    # the entropies of entropy_bound are measured by another program
    assert "runs are missing" not in told or name == "entropy_bound"
    assert told.count("| held |") + told.count("| **not held** |") + told.count("| open |") == len(report.RULES)
    assert (tmp_path / "runs" / name / "smoke" / "report.png").stat().st_size > 1000
    assert (HOME / name / "README.md").read_bytes() == before
