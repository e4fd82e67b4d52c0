"""The rules of `report.py` on the paper's own figures and on made-up ones, and what it prints and draws."""

from pathlib import Path

import pytest

from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "memory_efficient"
report = listed.executed(FOLDER / "report.py")


def found(runs=(), **rows):
    machine = {"cores": 2, "device": "cpu"}
    return report.Found(rows, list(runs), {name: machine for name in rows})


def published(form="jattn"):
    """Tables 2 and 3, the memory-efficient form under the given name."""
    names = {"standard": "standard", "memory-efficient": form}
    return [
        {"form": names[which], "direction": direction, "length": n, "bytes": held}
        for (direction, which), sizes in report.PAPER_BYTES.items()
        for n, held in zip(report.LENGTHS, sizes, strict=True)
        if held is not None
    ]


def verdict(rule, **rows):
    (name,) = [name for name in report.RULES if name.startswith(f"{rule}.")]
    return report.RULES[name](found(**rows))


def test_without_figures_every_rule_is_open():
    verdicts = report.judged(found())
    assert all(one == report.OPEN for one in verdicts.values())
    assert report.sentence(verdicts).startswith("Not yet decided: 1. ")


def test_the_papers_tables_hold_to_the_rules_on_memory():
    assert verdict(1, memory=published()).held and verdict(3, memory=published()).held
    assert verdict(2, memory=published("two-pass")).held
    assert verdict(7, tpu_bfloat16=published()).held and verdict(8, tpu_float32=published()).held


def changed(rows, change, **match):
    return [{**row, **change} if all(row[name] == held for name, held in match.items()) else row for row in rows]


@pytest.mark.parametrize(
    "rule, match, size",
    [
        # a GiB over 59, and two over 32
        (1, {"form": "jattn", "direction": "inference", "length": 2**14}, 2**30 // 59 + 1),
        (1, {"form": "jattn", "direction": "differentiation", "length": 2**14}, 2**26 + 1),
        # over 4.41 times what stands before it, and over the paper's own
        (3, {"form": "jattn", "direction": "inference", "length": 2**18}, 93 * 2**20),
        (3, {"form": "jattn", "direction": "inference", "length": 2**20}, 2**28 + 1),
    ],
)
def test_too_much_memory_is_told(rule, match, size):
    assert verdict(rule, memory=changed(published(), {"bytes": size}, **match)).held is False


def test_a_form_that_a_compiler_refuses_does_not_hold():
    rows = changed(published(), {"bytes": None, "why": "no such layout"}, form="jattn", length=2**14)
    assert verdict(7, tpu_bfloat16=rows) == report.Verdict(False, "does not compile: no such layout")


@pytest.mark.parametrize("error, held", [(2.5e-7, True), (2.6e-7, False)])
def test_errors_are_held_to_twice_the_standard_forms_and_one_spacing(error, held):
    standard = {"form": "standard", "array": "dq", "error": 1e-7, "spacing": 5e-8}
    rows = [standard, {**standard, "form": "jattn", "error": error}, {**standard, "form": "two-pass"}]
    assert verdict(5, agreement=rows).held is held


@pytest.mark.parametrize("last, held", [(100, True), (101, False)])
def test_one_query_takes_the_same_bytes(last, held):
    rows = [{"form": "jattn", "keys": keys, "bytes": size} for keys, size in ((4, 100), (8, last))]
    assert verdict(4, single_query=rows).held is held


@pytest.mark.parametrize("early, heldout, held", [(0.9e-4, 0.009, True), (1.1e-4, 0.009, False), (0.9e-4, 0.02, False)])
def test_losses_are_compared_early_and_at_the_end(early, heldout, held):
    def run(shift, reached):
        # chaos after the first steps is no fault
        points = [{"step": 100, "loss": 3 + shift}, {"step": 101, "loss": 2 + 100 * shift}]
        return {"points": points, "reached": {"heldout_loss": reached}}

    rule = next(rule for name, rule in report.RULES.items() if name.startswith("6."))
    assert rule(found([run(0, 2), run(early, 2 + heldout)])).held is held


@pytest.mark.parametrize("ours, held", [(1.0, True), (1.1, False)])
def test_time_is_compared_with_the_standard_form(ours, held):
    rows = [
        {"form": form, "direction": direction, "length": n, "ms": {"median": taken}}
        for form, taken in (("standard", 1.0), ("jattn", ours))
        for direction in report.PAPER_RATIO
        for n in (2**12, 2**14)
    ]
    assert verdict(9, times=rows).held is held


@pytest.mark.parametrize("alone, held", [(1.5, True), (0.9, False)])
def test_small_chunks_are_compared_with_tiles_of_the_same_size(alone, held):
    rows = [
        {"form": form, "chunk": chunk, "ms": {"median": taken}}
        for form, taken in (("queries alone", alone), ("both", 1.0))
        for chunk in (16, 64)
    ] + [{"form": "queries alone", "chunk": 1024, "ms": {"median": 0.1}}]
    assert verdict(10, figure_5=rows).held is held


def test_price_alone_does_not_refute_the_claim():
    held = {name: report.Verdict(True, "") for name in report.RULES}
    (slow,) = [name for name in held if name.startswith("9.")]
    assert report.sentence({**held, slow: report.Verdict(False, "")}) == "The claim is upheld here."
    (wrong,) = [name for name in held if name.startswith("5.")]
    assert report.sentence({**held, wrong: report.Verdict(False, "")}) == f"The claim is not upheld here: {wrong}."


def test_the_committed_page_says_what_the_committed_results_say():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    plans = report.names.planned(listed.runs(FOLDER / "run.py"), FOLDER, FOLDER / "results")
    told = report.text(report.load(FOLDER / "results", plans))
    assert page.partition(report.BEGIN)[2].partition(report.END)[0].strip() == told.strip()


def test_smoke_reports_on_what_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / report.SMOKE).mkdir(parents=True)
    before = (FOLDER / "README.md").read_bytes()
    assert report.main(["--smoke"]) == 0
    assert "**Not yet decided: 1. " in capsys.readouterr().out
    assert (tmp_path / report.SMOKE / report.PICTURE).stat().st_size > 10_000
    assert (FOLDER / "README.md").read_bytes() == before


def test_the_runs_differ_in_the_engine_alone():
    plans = report.names.planned(listed.runs(FOLDER / "run.py"), FOLDER, FOLDER / "results")
    name = "model.attention.implementation"
    assert [planned.fields for planned in plans] == [{name: "tiled"}, {name: "dense"}]
