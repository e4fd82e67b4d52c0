"""Tests that a run is data: hashable, written and read back, and refused where it could not be trained."""

import json

import pytest

from jattn import catalogue
from jattn.models.decoder import DecoderConfig
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sources.text import Text


@pytest.mark.parametrize("run", [Run(), Run(source=Text(("a", "b")), optimizer=AdamW(decay=0.0), dtype="bfloat16")])
def test_round_trip_through_json(run):
    again = Run.from_json(run.to_json(), catalogue.find)
    assert again == run and hash(again) == hash(run) and repr(again) == repr(run)
    assert json.loads(run.to_json())["optimizer"]["name"] == type(run.optimizer).__name__


def test_unknown_names_are_refused_with_the_nearest():
    written = Run().to_json()
    with pytest.raises(ValueError, match="(?i)muon"):
        Run.from_json(written.replace('"Muon"', '"Muonn"'), catalogue.find)
    with pytest.raises(ValueError, match="'stepz'; did you mean steps"):
        Run.from_json(written.replace('"steps"', '"stepz"'), catalogue.find)


@pytest.mark.parametrize("name", ["steps", "batch", "accumulate", "context", "evaluate_every", "checkpoint_every"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True])
def test_sizes_are_whole_and_above_zero(name, value):
    with pytest.raises(ValueError, match=f"Run.{name} must be a whole number of at least 1"):
        Run(**{name: value})


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"seed": -1}, "seed must lie between"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"dtype": "float16"}, "use 'bfloat16'"),
        ({"dtype": "float64"}, "got 'float64'"),
        ({"remat": True}, "remat must be 'none' or 'block'"),
        ({"batch": 10, "accumulate": 4}, "multiple of Run.accumulate, got 10 windows in 4 pieces; use --batch 8"),
        ({"batch": 2, "accumulate": 4}, "use --batch 4"),
        ({"model": DecoderConfig(vocabulary=100)}, "must hold the source's 256 tokens, got 100"),
    ],
)
def test_what_cannot_be_trained_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Run(**fields)


def test_a_class_is_no_part():
    with pytest.raises(TypeError, match="Run.optimizer must be a Optimizer"):
        Run(optimizer=AdamW)


def test_what_is_nested_beyond_measure_is_no_run():
    with pytest.raises(ValueError, match="run.json must be the JSON that training wrote, got"):
        Run.from_json("[" * 100_000 + "]" * 100_000, None)
