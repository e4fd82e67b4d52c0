"""Tests that a report rules on what is there alone, and renews the marked part of its page alone."""

import pytest
from matplotlib.figure import Figure

from jattn.training.run import Run
from jattn.training.sweeps import names, reports, results, short
from jattn.training.sweeps.reports import Verdict

RUNS = "from jattn.training.run import Run\nRUNS = [Run(seed=seed) for seed in (0, 1)]\n"


@pytest.fixture
def folder(tmp_path):
    """An experiment's, with the result of its second run."""
    (tmp_path / "run.py").write_text(RUNS)
    (tmp_path / "README.md").write_text(f"# A claim\n\n{reports.BEGIN}\nold\n{reports.END}\n\nThe end.\n")
    plans = names.planned([Run(seed=seed) for seed in (0, 1)], tmp_path, tmp_path / "results")
    kept(plans[1].run, plans[1].result)
    return tmp_path


def kept(run, file):
    rows = file.parent.parent / "metrics.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows.write_text('{"step": 1, "loss": 2.0, "heldout_loss": 2.5, "tokens_per_second": 9}\n')
    results.write(file, results.record(run, rows.parent))


def text(found):
    return "\n".join([*reports.judged({"a": Verdict(True, "3")}, found.missing), *reports.machines(found.held)])


def picture(found):
    return Figure()


def test_results_keep_the_order_of_the_runs(folder):
    found = reports.load(folder, folder / "results")
    assert found.held[0] is None and found.held[1]["run"]["seed"] == 1 and found.missing == 1


@pytest.mark.parametrize(
    "held, missing, said",
    [
        ((True, True), 0, "The claim is upheld here."),
        ((True, False), 0, "Not upheld here: 1. b."),
        ((True, None), 0, "Not yet decided: 1. b."),
        # no verdict before all has run, whatever the rules say
        ((True, False), 2, "Not yet decided: 2 runs are missing."),
        ((True, True), 1, "Not yet decided: 1 runs are missing."),
    ],
)
def test_the_verdict_waits_for_every_run_and_every_rule(held, missing, said):
    assert reports.sentence({f"{n}. {'ab'[n]}": Verdict(each, "") for n, each in enumerate(held)}, missing) == said


def test_a_page_is_renewed_between_its_marks(folder):
    assert reports.main([], folder, text, picture) == 0
    page = (folder / "README.md").read_text()
    assert page.startswith(f"# A claim\n\n{reports.BEGIN}\n\n**Not yet decided: 1 runs are missing.**")
    assert "| a | held | 3 |" in page and "old" not in page and page.endswith(f"{reports.END}\n\nThe end.\n")
    assert page.count("- cores ") == 1 and (folder / reports.PICTURE).stat().st_size
    reports.main([], folder, text, picture)
    assert (folder / "README.md").read_text() == page


def test_smoke_reads_shortened_runs_and_leaves_the_page(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    smoke = tmp_path / "runs" / folder.name / "smoke"
    plans = names.planned([Run(seed=seed) for seed in (0, 1)], smoke, smoke / "results")
    kept(short.shortened(plans[0].run), plans[0].result)
    before = (folder / "README.md").read_text()
    assert reports.main(["--smoke"], folder, text, picture) == 0
    assert "1 runs are missing" in capsys.readouterr().out and (smoke / reports.PICTURE).stat().st_size
    assert (folder / "README.md").read_text() == before and not (folder / reports.PICTURE).exists()


def test_a_run_that_diverged_has_no_finite_loss():
    assert reports.loss({"reached": {"heldout_loss": 2.5}}) == 2.5
    assert reports.loss({"reached": {"diverged": 3}}) == float("inf")


def test_a_run_that_diverged_is_right_on_nothing():
    assert reports.accuracy({"reached": {"heldout_accuracy": 0.7}}) == 0.7
    assert reports.accuracy({"reached": {"heldout_accuracy": 0.7, "diverged": 3}}) == 0
