"""Tests that what a run holds decides its name, and the order of a list nothing."""

import dataclasses

import pytest

from jattn.models.decoder import DecoderConfig
from jattn.part import part
from jattn.parts.normalizers.sparsemax import Sparsemax
from jattn.parts.scores.t5_bias import T5Bias
from jattn.training.optimizers.adamw import AdamW
from jattn.training.plain import agrees, to_plain
from jattn.training.run import Run
from jattn.training.sources.text import Text
from jattn.training.sweeps import names

RUNS = [Run(optimizer=AdamW(rate=rate), seed=seed) for seed in (0, 1) for rate in (0.01, 0.02)]


def attending(**parts):
    model = DecoderConfig()
    return Run(model=dataclasses.replace(model, attention=dataclasses.replace(model.attention, **parts)))


def test_a_name_holds_the_fields_that_differ_and_a_digest(tmp_path):
    first = names.planned(RUNS, tmp_path / "runs", tmp_path / "results")[0]
    assert first.name == f"optimizer.rate=0.01-seed=0-{names.digest(RUNS[0])[:8]}"
    assert first.directory == tmp_path / "runs" / first.name
    assert first.result == tmp_path / "results" / f"{first.name}.json"
    assert first.fields == {"optimizer.rate": "0.01", "seed": "0"}


def test_a_field_that_is_new_leaves_finished_runs_done():
    run = Run(optimizer=AdamW(rate=0.01), seed=3)
    before, written = names.digest(run), to_plain(run)

    @part
    class Grown(Run):
        newer: int = 5

    Grown.__name__ = "Run"
    grown = Grown(optimizer=AdamW(rate=0.01), seed=3)
    assert names.digest(grown) == before and agrees(written, to_plain(grown))
    assert names.digest(dataclasses.replace(grown, newer=6)) != before


def test_another_order_keeps_every_place(tmp_path):
    plans = names.planned(RUNS, tmp_path, tmp_path)
    other = names.planned(RUNS[::-1], tmp_path, tmp_path)[::-1]
    assert [planned._replace(index=0) for planned in plans] == [planned._replace(index=0) for planned in other]


def test_a_longer_list_keeps_the_places_that_are_there(tmp_path):
    before = names.planned(RUNS[:2], tmp_path / "runs", tmp_path / "results")
    for planned in before:
        planned.directory.mkdir(parents=True)
        planned.result.parent.mkdir(exist_ok=True)
        planned.result.touch()
    after = names.planned(RUNS, tmp_path / "runs", tmp_path / "results")
    assert [planned.directory for planned in after[:2]] == [planned.directory for planned in before]
    assert [planned.result for planned in after[:2]] == [planned.result for planned in before]
    assert "seed" in after[0].fields and "seed" not in before[0].fields
    assert after[2].directory.name == after[2].name


@pytest.mark.parametrize(
    "runs, fields",
    [
        ([attending(), attending(normalizer=Sparsemax())], ["Softmax", "Sparsemax"]),
        ([attending(), attending(score=(T5Bias(),))], ["none", "T5Bias"]),
        ([attending(score=(T5Bias(buckets=n),)) for n in (16, 32)], ["16", "32"]),
        ([Run(source=Text((f"/somewhere/{name}",))) for name in ("a", "b")], ["a", "b"]),
    ],
)
def test_parts_differ_by_their_class_and_then_by_their_fields(runs, fields, tmp_path):
    plans = names.planned(runs, tmp_path, tmp_path)
    assert [list(planned.fields.values()) for planned in plans] == [[field] for field in fields]


def test_a_name_fits_a_file_system(tmp_path):
    runs = [Run(source=Text((f"a b/{letter * 300}*?",))) for letter in "xy"]
    for planned in names.planned(runs, tmp_path, tmp_path):
        assert len(planned.name) < 200 and not set(planned.name) & set("/ *?:\\")
        planned.directory.mkdir()


def test_a_list_of_one_has_a_name(tmp_path):
    (planned,) = names.planned([Run()], tmp_path, tmp_path)
    assert planned.name == f"run-{names.digest(Run())[:8]}" and planned.fields == {}


def test_no_place_of_a_machine_is_kept():
    assert names.portable({"files": ["/home/me/text", "text"], "n": [1, {"at": "/a/"}]}) == {
        "files": ["text", "text"],
        "n": [1, {"at": "a"}],
    }


@pytest.mark.parametrize(
    "runs, error, sentence",
    [
        (3, TypeError, "must be a list of Run, got int '3'"),
        (None, TypeError, "must be a list of Run, got none"),
        ([], ValueError, "at least one Run"),
        ([Run(), "two"], TypeError, r"got str 'two' as RUNS\[1\]"),
        ([Run(), Run(seed=1), Run()], ValueError, r"RUNS\[2\] equal to RUNS\[0\]"),
    ],
)
def test_no_list_of_different_runs_is_refused(runs, error, sentence, tmp_path):
    with pytest.raises(error, match=sentence):
        names.planned(runs, tmp_path, tmp_path)
