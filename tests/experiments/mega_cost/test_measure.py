"""What `measure.py` measures: blocks of one size, and every part on tiny sizes."""

from pathlib import Path

import jax
import pytest

from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "mega_cost"
measure = listed.executed(FOLDER / "measure.py")


def test_mega_has_the_numbers_of_the_transformer_but_for_a_sixth():
    sizes = {}
    for arm, model in measure.ARMS.items():
        params = measure.passes(model, 7)[1][0].params
        sizes[arm] = sum(leaf.size for leaf in jax.tree.leaves(params["stack"]))
    plain, mega = sizes["Transformer"], sizes["Mega-chunk"]
    assert sizes["Mega"] == sizes["Mega, whole matrix"] == mega and plain < mega < 7 / 6 * plain


@pytest.mark.slow
def test_every_part_of_smoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert measure.measures.main(["--smoke"], measure.HERE, measure.PARTS, measure.FULL, measure.SMALL) == 0
    home = tmp_path / "runs" / FOLDER.name / "smoke" / "results"
    assert {path.stem for path in home.iterdir()} == set(measure.PARTS)
    report = listed.executed(FOLDER / "report.py")
    assert report.reports.main(["--smoke"], FOLDER, report.text, report.picture, report.load) == 0
    assert (home.parent / "report.png").stat().st_size > 1000
