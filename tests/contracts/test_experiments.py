"""Every experiment's page is what its results say; every arm of the swept ones, through a few steps and the report."""

from pathlib import Path

import pytest

from jattn import cli
from jattn.training.sweeps import listed, reports

HOME = Path(__file__).parents[2] / "experiments"
# the other two load their results by themselves
REPORTED = [file.parent for file in sorted(HOME.glob("*/report.py")) if "reports.main(" in file.read_text("utf-8")]
# nothing is swept there: their own tests measure a little
MEASURED = {"entropy_abf", "favor_backward_compatible", "favor_scaling", "favor_variance", "mega_cost"}


@pytest.mark.parametrize("folder", REPORTED, ids=lambda folder: folder.name)
def test_the_committed_page_says_what_the_committed_results_say(folder):
    report = listed.executed(folder / "report.py")
    told = report.text(getattr(report, "load", reports.load)(folder, folder / "results"))
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert page.partition(reports.BEGIN)[2].partition(reports.END)[0].strip() == told.strip()


@pytest.mark.slow
@pytest.mark.parametrize("name", [folder.name for folder in REPORTED if folder.name not in MEASURED])
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
