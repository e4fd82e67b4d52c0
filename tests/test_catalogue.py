"""The catalogue reads the folders, finds by any spelling and refuses what is not there."""

import pytest

from jattn import catalogue
from jattn.parts.masks import Mask
from jattn.parts.masks.window import Window
from jattn.parts.normalizers import Normalizer
from jattn.parts.normalizers.squared_relu import SquaredRelu


def test_parts_are_listed_with_slot_sentence_and_source():
    found = {entry.name: entry for entry in catalogue.entries()}
    assert found["Window"].slot == "masks"
    assert found["Window"].sentence.startswith("A query sees the keys within")
    assert found["Window"].source.endswith("arXiv:2004.05150, section 3.1")
    assert found["Window"].load() is Window
    # defined in the slot's own file, its docstring the class's
    assert "arXiv:1706.03762" in found["Full"].source


def test_abstract_classes_are_no_parts():
    assert not {"Mask", "Score", "Normalizer", "Position", "Part"} & {entry.name for entry in catalogue.entries()}


@pytest.mark.parametrize("spelling", ["SquaredRelu", "squaredrelu", "squared_relu", "squared-relu", "SQUARED_RELU"])
def test_any_spelling_finds(spelling):
    assert catalogue.find(Normalizer, spelling) is SquaredRelu


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="No part of masks is called 'windw'; the nearest is window"):
        catalogue.find(Mask, "windw")


@pytest.mark.parametrize("path", ["os.system", "jattn.parts.masks.causal.Causal", "../causal"])
def test_paths_are_refused(path):
    with pytest.raises(ValueError, match="chosen by its catalogue name, got the path"):
        catalogue.find(Mask, path)


def test_a_part_of_another_slot_is_not_found():
    with pytest.raises(ValueError, match="No part of masks"):
        catalogue.find(Mask, "softmax")


@pytest.mark.parametrize("word", ["window", "WINDOW", "2004.05150", "longformer"])
def test_a_word_finds_by_name_text_and_number(word):
    assert "Window" in catalogue.table(word)


def test_the_table_is_aligned():
    lines = catalogue.table().splitlines()
    assert len(lines) == len(catalogue.entries())
    pairs = zip(lines, catalogue.entries(), strict=True)
    assert len({line.index(entry.slot, len(entry.name)) for line, entry in pairs}) == 1


def test_a_dropped_file_appears(tmp_path, monkeypatch):
    folder = tmp_path / "jattn" / "parts" / "masks"
    folder.mkdir(parents=True)
    monkeypatch.setattr(catalogue, "ROOT", tmp_path / "jattn")
    source = '"""Sees nothing.\n\nSource: No one, 2020.\n"""\n@part\nclass Blind(Mask):\n    """Dark."""\n'
    (folder / "blind.py").write_text(source)
    (entry,) = catalogue.entries(folder)
    assert (entry.name, entry.slot, entry.sentence, entry.source) == ("Blind", "masks", "Sees nothing.", "No one, 2020")
