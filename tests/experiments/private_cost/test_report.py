"""The rules of `report.py` on made-up figures, and what it prints and draws."""

import json
from pathlib import Path

import pytest

from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "private_cost"
report = listed.executed(FOLDER / "report.py")
# the paper's gigabytes, as bytes
PAPER = {"SM+LN+G": 25320, "SM+LN+R": 9440, "SM+ScFFN": 6950, "SM+ScFuFFN": 6430, "SM(t)+ScFuFFN": 6430}


def measured(name, sent, protocol="semi2k", denominator="once", **more):
    parties = [[sent - sent // 2, 7], [sent // 2, 5]]
    return {
        "name": name, "protocol": protocol, "denominator": denominator, "runs": [parties, parties], "error": 0.001,
        "operations": {"dot": [1, sent, 12]}, **more,
    }  # fmt: skip


def blocks(**changed):
    sizes = {**PAPER, **changed}
    return [
        measured(name, sent, protocol, how)
        for name, sent in sizes.items() for protocol in ("semi2k", "aby3") for how in ("once", "broadcast")
    ]  # fmt: skip


def trained(apart=0.0, error=0.001):
    rows = [measured(name, 100, nats=2.5, fixed_point_nats=2.5 + apart, logits=4.0, bytes_scored=9) for name in "ab"]
    return [{**row, "error": error} for row in rows]


def found(**rows):
    return report.Found(rows, {})


def verdict(number, **rows):
    (name,) = [name for name in report.RULES if name.startswith(f"{number}.")]
    return report.RULES[name](found(**rows)).held


def test_without_figures_every_rule_is_open():
    verdicts = report.judged(found())
    assert all(one == report.OPEN for one in verdicts.values())
    assert report.sentence(verdicts).startswith("Not yet decided: 1. ")


def test_the_papers_own_figures_hold_to_the_rules():
    verdicts = report.judged(found(paper_blocks=blocks(), blocks=blocks(), trained=trained()))
    assert report.sentence(verdicts) == "The claim is upheld here."


@pytest.mark.parametrize(
    "number, part, changed",
    [
        (1, "paper_blocks", {"SM+ScFuFFN": 6950}),
        (2, "paper_blocks", {"SM+LN+R": 25320}),
        (3, "blocks", {"SM+ScFFN": 9440}),
        (4, "paper_blocks", {"SM+ScFuFFN": 12661}),
        (5, "paper_blocks", {"SM+LN+R": 15876}),
        (6, "paper_blocks", {"SM(t)+ScFuFFN": 6752}),
    ],
)
def test_figures_just_beyond_a_rule_break_it(number, part, changed):
    assert verdict(number, **{part: blocks(**changed)}) is False
    assert verdict(number, **{part: blocks()}) is True


@pytest.mark.parametrize(
    "protocol, again, held",
    [
        ("semi2k", [[50, 7], [50, 5]], True),
        ("semi2k", [[51, 7], [49, 5]], False),
        ("aby3", [[51, 7], [49, 5]], True),
        ("aby3", [[51, 7], [50, 5]], False),
        ("cheetah", [[50, 7], [51, 5]], True),
        ("cheetah", [[50, 7], [52, 5]], False),
        ("cheetah", [[50, 8], [50, 5]], False),
    ],
)
def test_runs_are_held_to_what_their_protocol_leaves_to_chance(protocol, again, held):
    row = measured("softmax", 100, protocol)
    row["runs"] = [row["runs"][0], again]
    assert verdict(7, operations=[row]) is held


def test_a_subject_that_ran_once_leaves_the_rule_open():
    row = measured("softmax", 100)
    assert verdict(7, operations=[row, {**row, "runs": row["runs"][:1]}]) is None


def test_fixed_point_that_is_off_breaks_the_rule():
    assert verdict(8, trained=trained(0.0099)) is True
    assert verdict(8, trained=trained(0.0101)) is False and verdict(8, trained=trained(error=0.21)) is False


def test_a_broken_rule_is_told():
    verdicts = report.judged(found(paper_blocks=blocks(**{"SM+ScFuFFN": 6950}), blocks=blocks(), trained=trained()))
    failed = "1. the paper's order of bytes, at its shape; 2. the same where each weight is divided"
    assert report.sentence(verdicts) == f"The claim is not upheld here: {failed}."


def test_the_report_is_printed_and_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / report.SMOKE / "results"
    folder.mkdir(parents=True)
    head = {"machine": {"cores": 2}, "versions": {"here": {"jax": "1"}, "spu": {"spu": "2"}}}
    (folder / "paper_blocks.json").write_text(json.dumps({**head, "rows": blocks()}))
    assert report.main(["--smoke"]) == 0
    told = capsys.readouterr().out
    assert "| SM+ScFuFFN | 144 | 0 | 0 |" in told and "- cores 2; exported with jax 1; run with spu 2" in told
    assert (tmp_path / report.SMOKE / report.PICTURE).stat().st_size > 1000


def test_the_page_holds_the_marks_and_every_rule():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert page.index(report.BEGIN) < page.index(report.END)
    assert all(f"| {number}. " in page.partition(report.BEGIN)[0] for number in range(1, len(report.RULES) + 1))
