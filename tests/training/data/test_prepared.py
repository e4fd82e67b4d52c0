"""Tests how a data set is found by its name, and what is refused before it is opened."""

import json
import shlex
import shutil
import subprocess
import sys

import pytest

from jattn.training.data import prepared


@pytest.fixture
def folder(tmp_path):
    """Data sets that are there as far as finding them goes."""
    for name in ("plain/1.0.0", "plain/1.2.0", "plain/1.10.0", "plain/incomplete.X_2.0.0", "wiki/en/1.0.0",
                 "wiki/de/1.0.0", "lone/only/3.0.0"):  # fmt: skip
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / prepared.INFO).write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    "name, place",
    [
        ("plain", "plain/1.10.0"),
        ("plain:1.2.0", "plain/1.2.0"),
        ("wiki/de", "wiki/de/1.0.0"),
        ("wiki/en:1.0.0", "wiki/en/1.0.0"),
        ("lone", "lone/only/3.0.0"),
    ],
)
def test_a_name_finds_its_newest_version_or_the_one_asked_for(name, place, folder):
    assert prepared.find(name, str(folder)) == folder / place


def test_a_folder_is_found_as_it_is(folder):
    assert prepared.find(str(folder / "plain" / "1.0.0"), None) == folder / "plain" / "1.0.0"


def test_without_a_folder_the_usual_one_is_meant(folder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    assert prepared.find("lone", None) == folder / "lone" / "only" / "3.0.0"


@pytest.mark.parametrize(
    "name, words",
    [
        ("plane", "did you mean plain"),
        ("wiki", "did you mean wiki/de or wiki/en"),
        ("plain:9.0.0", "of 1.0.0, 1.2.0, 1.10.0, got 'plain:9.0.0'"),
        ("zzz", "it has lone/only, plain, wiki/de, wiki/en"),
        ("jattn_shakespeare", "not prepared yet; run python -m jattn.training.data.prepare_shakespeare --data-dir"),
        ("jatn_shakespear", "did you mean jattn_shakespeare, which python -m .* prepares"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, words, folder):
    with pytest.raises(FileNotFoundError, match=words):
        prepared.find(name, str(folder))


def test_an_empty_place_has_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="got 'zzz'; it has none"):
        prepared.find("zzz", str(tmp_path / "nowhere"))


def edited(source, target, file, change):
    """A copy of a prepared data set with one of its descriptions changed."""
    shutil.copytree(source, target)
    held = json.loads((target / file).read_text())
    change(held)
    (target / file).write_text(json.dumps(held))
    return target


@pytest.fixture
def own(shakespeare_folder):
    return shakespeare_folder / "jattn_shakespeare" / "1.0.0"


def test_another_format_is_refused_with_a_command_that_prepares_it(own, tmp_path):
    home = tmp_path / "with a blank"
    place = edited(own, home / "jattn_shakespeare" / "1.0.0", prepared.INFO, lambda i: i.update(fileFormat="tfrecord"))
    with pytest.raises(ValueError, match="got tfrecord in .*; run (.*) and name that folder") as refused:
        prepared.opened(place)
    _, *words = shlex.split(str(refused.value).partition("; run ")[2].partition(" and name")[0])
    subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=60)
    assert prepared.opened(prepared.find("jattn_shakespeare", words[-1])).info.splits["test"].num_examples == 3


def test_the_command_for_other_data_sets_is_python(tmp_path):
    _, option, script = shlex.split(prepared.command("it/is", tmp_path))
    compile(script, "command", "exec")
    assert option == "-c" and f'"it/is", data_dir="{tmp_path}", file_format="array_record"' in script


def add(kind):
    def change(features):
        features["featuresDict"]["features"]["added"] = {"pythonClassName": kind}

    return change


def test_features_that_need_tensorflow_to_be_opened_are_refused(own, tmp_path):
    audio = add("tensorflow_datasets.core.features.audio_feature.Audio")
    with pytest.raises(ValueError, match="got Audio in .* as a plain Tensor, of uint8 for pixels or int16 for sound"):
        prepared.opened(edited(own, tmp_path / "copy", prepared.FEATURES, audio))


def test_no_module_is_imported_because_a_file_names_it(own, tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="tensorflow-datasets' own, got planted.Kind"):
        prepared.opened(edited(own, tmp_path / "copy", prepared.FEATURES, add("planted.Kind")))


@pytest.mark.parametrize("file", [prepared.INFO, prepared.FEATURES])
@pytest.mark.parametrize("held", ["{", "[]", "{}", '{"pythonClassName": "tensorflow_datasets.Made", "name": "made"}'])
def test_broken_descriptions_are_refused(file, held, own, tmp_path):
    shutil.copytree(own, tmp_path / "copy")
    (tmp_path / "copy" / file).write_text(held)
    with pytest.raises(ValueError, match="as tensorflow-datasets writes it|prepared as array_record"):
        prepared.opened(tmp_path / "copy")
