"""Prints expressions of ListOps and histograms of their lengths and values, beside the lengths to be expected.

Source: see `jattn.training.data.listops`.

    python -m jattn.training.data.show_listops --count 10000

Any field of the source `ListOps` is an option, as --shorter-than 200.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import get_type_hints

import numpy as np
from jaxtyping import Float

from jattn.training.data import listops
from jattn.training.sources.listops import ListOps

# of the commands' own options
LEAST = {"seed": 0, "count": 1}
# so many bars of lengths, so many signs for the highest one
BARS, SIGNS = 15, 40
# so many expressions are shown, up to so many tokens of each
SHOWN, WORDS = 3, 60


def asked(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> tuple[ListOps, argparse.Namespace]:
    """The source that a command line asks for, and the options of its own; what the source refuses, it refuses."""
    fields = dataclasses.fields(ListOps)
    kinds = get_type_hints(ListOps)
    for field in fields:
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kinds[field.name], default=field.default)
    given = parser.parse_args(argv)
    for name, least in LEAST.items():
        if getattr(given, name, least) < least:
            parser.error(
                f"--{name} must be at least {least}, got {getattr(given, name)}; leave it out for the usual one."
            )
    try:
        return ListOps(**{field.name: getattr(given, field.name) for field in fields}), given
    except ValueError as error:
        parser.error(str(error))


def histograms(sizes: Sequence[int], labels: Sequence[int], chances: Float[np.ndarray, " n"]) -> str:
    """Lengths beside how many are to be expected, and classes, as lines with bars.

    `chances` says how probable each length below its own is, 0 where none is allowed.
    """
    first, past = np.flatnonzero(chances)[[0, -1]] + (0, 1)
    edges = np.unique(np.linspace(first, past, BARS + 1).astype(int))
    expected = np.add.reduceat(chances, edges[:-1]) * len(sizes) / chances.sum()
    counts, classes = np.histogram(sizes, edges)[0], np.bincount(labels, minlength=10)
    rows = [f"{low}-{high - 1}" for low, high in zip(edges, edges[1:], strict=False)]
    lines = [f"{'tokens':<12}{'count':>10}{'expected':>12}"]
    for name, count, mean in zip(rows, counts, expected, strict=True):
        lines.append(f"{name:<12}{count:>10,}{mean:>12,.1f}  {bar(count, counts)}".rstrip())
    lines += ["", f"{'value':<12}{'count':>10}"]
    for name, count in enumerate(classes):
        lines.append(f"{name:<12}{count:>10,}{'':>12}  {bar(count, classes)}".rstrip())
    share = classes.max() / len(labels)
    return "\n".join([*lines, "", f"always naming the commonest value, {classes.argmax()}, is right in {share:.2%}"])


def bar(count: int, counts: np.ndarray) -> str:
    return "#" * round(SIGNS * count / counts.max())


def main(argv: Sequence[str] | None = None) -> None:
    """Draws so many expressions to train on, and prints what they are like."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    source, given = asked(parser, argv)
    examples = source.train(source.shortest, given.seed)
    drawn = [examples[number] for number in range(min(given.count, source.examples))]
    for each in drawn[:SHOWN]:
        more = " ..." if each["valid"] > WORDS else ""
        print(f"{listops.text(each['inputs'][: min(each['valid'], WORDS)])}{more} = {each['label']}")
    chances = listops.lengths(source.depth, source.arguments, source.shorter_than).copy()
    chances[: source.longer_than + 1] = 0
    print("", histograms([each["valid"] for each in drawn], [each["label"] for each in drawn], chances), sep="\n")


if __name__ == "__main__":
    main()
