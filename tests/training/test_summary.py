"""Tests that a summary says what was reached beside what others reach on the same text."""

from pathlib import Path

from jattn.models.encoder import EncoderConfig
from jattn.training.run import Run
from jattn.training.sources.dataset import Dataset
from jattn.training.sources.text import Text
from jattn.training.summary import Summary


def test_references_belong_to_the_embedded_text():
    told = str(Summary(Run(), Path("here"), 1.4, 1.5271, 360.4))
    assert "1.5271 nats per byte" in told and "4,403,200 bytes in 4,300 steps" in told
    assert all(figure in told for figure in ("1.371", "1.436", "1.699", "jattn sample --dir here"))
    assert "1.371" not in str(Summary(Run(source=Text(("a",))), Path("here"), 1.4, 1.5, 1.0))
    # masked bytes are told from both sides
    assert "1.371" not in str(Summary(Run(model=EncoderConfig()), Path("here"), 1.4, 1.5, 1.0))


def test_tokens_that_are_no_bytes_are_called_tokens():
    told = str(Summary(Run(source=Dataset(vocabulary=99), steps=10), Path("here"), 1.4, 1.5, 1.0))
    assert "1.5000 nats per token" in told and "10,240 tokens in 10 steps" in told and "byte" not in told


def test_pictures_are_those_that_are_there(tmp_path):
    (tmp_path / "loss.png").touch()
    told = str(Summary(Run(), tmp_path, 1.4, 1.5, 1.0))
    assert "checkpoints/, loss.png" in told and "entropy.png" not in told
