"""Finds data sets that tensorflow-datasets has prepared as ArrayRecord, and opens them without TensorFlow."""

import difflib
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# those that we prepare ourselves, and the modules that do
OWN, LISTOPS = "jattn_shakespeare", "jattn_listops"
MODULES = {
    OWN: "jattn.training.data.prepare_shakespeare",
    LISTOPS: "jattn.training.data.prepare_listops",
}
INFO, FEATURES = "dataset_info.json", "features.json"
# these import TensorFlow, some as soon as a data set that holds one is opened
NEED_TENSORFLOW = {"Image", "LabeledImage", "Audio", "Video"}
NEED_IT_TO_OPEN = {"Audio", "Video"}
PLAIN = "prepare it with the values as a plain Tensor, of uint8 for pixels or int16 for sound"
# where the held-out part is looked for when no split is named
HELD_OUT = ("validation", "test")
# features of a text, and of rows of whole numbers
READ = {"Text", "Tensor", "Scalar", "Sequence"}


def find(dataset: str, data_dir: str | None, owner: str = "Dataset") -> Path:
    """The folder of a data set by its name, `name/config` or `name:version`, or by the folder itself.

    `owner` is whose field holds the name, as refusals say it.
    """
    given = Path(dataset).expanduser()
    if (given / INFO).is_file():
        return given
    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    here = prepared(folder)
    name, _, version = dataset.partition(":")
    fitting = [name] if name in here else [each for each in here if each.startswith(f"{name}/")]
    if len(fitting) == 1:
        versions = here[fitting[0]]
        if version in versions or not version:
            return versions[version or max(versions, key=_order)]
        rule = f"a version of {fitting[0]} that is prepared, of {', '.join(sorted(versions, key=_order))}"
        raise FileNotFoundError(f"{owner}.dataset must name {rule}, got {dataset!r}; leave it out for the newest.")
    rule = f"{owner}.dataset must name what is prepared in {str(folder)!r}, or be a folder that holds {INFO}"
    if name in MODULES and not fitting:
        raise FileNotFoundError(f"{rule}, got {dataset!r}, which is not prepared yet; run {command(name, folder)}.")
    near = fitting or difflib.get_close_matches(name, {*here, *MODULES}, 3, 0.5)
    other = f"it has {', '.join(sorted(here)) or 'none'}, and {command(name, folder)} prepares what is known by name"
    if near and near[0] in MODULES and not any(each.partition("/")[0] == near[0] for each in here):
        cure = f"did you mean {near[0]}, which {command(near[0], folder)} prepares"
    else:
        cure = f"did you mean {' or '.join(near)}" if near else other
    raise FileNotFoundError(f"{rule}, got {dataset!r}; {cure}.")


def prepared(folder: Path) -> dict[str, dict[str, Path]]:
    """The data sets in a folder: `name` or `name/config` to version to where it lies."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted((*folder.glob(f"*/*/{INFO}"), *folder.glob(f"*/*/*/{INFO}"))):
        *steps, version = file.parent.relative_to(folder).parts
        # a preparation that was cut short leaves its folder behind
        if not version.startswith("incomplete."):
            found.setdefault("/".join(steps), {})[version] = file.parent
    return found


def _order(version: str) -> list[int]:
    return [int(step) if step.isdigit() else -1 for step in version.split(".")]


def command(name: str, folder: Path) -> str:
    """What one types to prepare a data set in a folder; needs TensorFlow only where the data set itself does."""
    if name in MODULES:
        return f"python -m {MODULES[name]} --data-dir {shlex.quote(str(folder))}"
    made = f'tfds.builder("{name}", data_dir="{folder}", file_format="array_record").download_and_prepare()'
    return f"python -c {shlex.quote(f'import tensorflow_datasets as tfds; {made}')}"


def opened(place: Path) -> Any:
    """The builder of tensorflow-datasets for a prepared folder; what needs TensorFlow to be read is refused."""
    try:
        info, features = (json.loads((place / file).read_text(encoding="utf-8")) for file in (INFO, FEATURES))
        name, kind = info["name"], info.get("fileFormat", "tfrecord")
        classes = {*_classes(features), features["pythonClassName"]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise broken(place, error) from error
    if kind != "array_record":
        # tensorflow-datasets refuses to write a second format into the same folder
        config = info.get("configName")
        home = place.absolute().parents[2 if config else 1]
        other = command(f"{name}/{config}" if config else name, home.with_name(f"{home.name}-array-record"))
        raise ValueError(
            f"A data set must be prepared as array_record to be read without TensorFlow, got {kind} in {str(place)!r}; "
            f"run {other} and name that folder with --data-dir."
        )
    # the file names classes, and tensorflow-datasets would import any module that it names
    if foreign := sorted(each for each in classes if not each.startswith("tensorflow_datasets.")):
        raise ValueError(
            f"Features must be tensorflow-datasets' own, got {foreign[0]} in {str(place)!r}; leave it out."
        )
    if heavy := sorted(NEED_IT_TO_OPEN & {each.rpartition(".")[2] for each in classes}):
        raise ValueError(f"A data set must need no TensorFlow to be opened, got {heavy[0]} in {str(place)!r}; {PLAIN}.")
    import tensorflow_datasets

    try:
        return tensorflow_datasets.builder_from_directory(str(place))
    except Exception as error:
        raise broken(place, error) from error


def splits(dataset: str, known: Any, train: str, held_out: str | None, owner: str = "Dataset") -> tuple[str, str]:
    """What is trained on and what is held out, which may share no example; `known` are the splits of a builder."""
    held_out = held_out or next((name for name in HELD_OUT if name in known), None)
    if held_out is None:
        raise ValueError(
            f"{owner}.held_out_split must be named where there is no {' or '.join(HELD_OUT)}, got the splits "
            f"{', '.join(known)}; slices will do, as in --source.train-split 'train[:95%]' "
            f"--source.held-out-split 'train[95%:]'."
        )
    files = {}
    for name, split in {"train_split": train, "held_out_split": held_out}.items():
        try:
            files[name] = known[split].file_instructions
        except (ValueError, LookupError, AssertionError):
            raise ValueError(
                f"{owner}.{name} must be a split of {dataset}, of {', '.join(known)}, got {split!r}; name one of "
                f"these, or a slice such as 'train[:95%]'."
            ) from None
    if any(_meet(one, other) for one in files["train_split"] for other in files["held_out_split"]):
        raise ValueError(
            f"{owner}.held_out_split must share no document with train_split, got {held_out!r} and {train!r}; name "
            f"splits or slices that lie apart."
        )
    return train, held_out


def _meet(one: Any, other: Any) -> bool:
    """Whether two stretches of records share one."""
    apart = one.skip + one.take <= other.skip or other.skip + other.take <= one.skip
    return one.filename == other.filename and not apart


def broken(place: Path, error: Exception) -> ValueError:
    """What to raise where a prepared folder cannot be read."""
    why = f"{str(place)!r} ({type(error).__name__}: {error})"
    return ValueError(f"A prepared data set must be as tensorflow-datasets writes it, got {why}; prepare it again.")


def _classes(features: Any) -> Iterator[str]:
    """Every class that a features.json names, at any depth."""
    if isinstance(features, dict):
        for key, value in features.items():
            # "type" in the files of old versions
            if key in ("pythonClassName", "type") and isinstance(value, str):
                yield value
            yield from _classes(value)
