"""What a chip can do and how chips are joined, as far as a roofline asks.

Source: Austin et al., "How to Scale Your Model", 2025, jax-ml.github.io/scaling-book, parts 2 (v5e, v5p: FLOPs, memory,
a link one way, wraparounds), 3 (a hop) and 1 (H100: FLOPs in bfloat16); NVIDIA, "H100 Tensor Core GPU", data sheet, SXM
(memory; NVLink: 900 GB/s, both directions together).
"""

import itertools
import math
import re
from typing import NamedTuple

from jattn import catalogue


class Chip(NamedTuple):
    """Products a second in bfloat16; bytes of memory, and a second to it; bytes a second one way over a link.

    A chip of a torus has two links along each of its `axes`; with none of these a switch joins all chips. An axis is a
    ring where `closed` divides its length. `hop` is the seconds that a link takes for the least message; `most` chips
    are joined so.
    """

    flops: float
    memory: int
    bandwidth: float
    link: float
    most: int
    axes: int
    closed: int = 1
    hop: float = 0.0

    @property
    def platform(self) -> str:
        """What JAX calls its kind."""
        return "tpu" if self.axes else "gpu"


CHIPS = {
    "v5e": Chip(1.97e14, 16 * 2**30, 8.1e11, 4.5e10, most=256, axes=2, closed=16, hop=1e-6),
    "v5p": Chip(4.59e14, 95 * 2**30, 2.8e12, 9e10, most=8960, axes=3, closed=4, hop=1e-6),
    "h100": Chip(9.89e14, 80 * 10**9, 3.35e12, 4.5e11, most=8, axes=0),
}


class Topology(NamedTuple):
    """Chips of one kind, so many along each axis of their torus."""

    name: str
    chip: Chip
    shape: tuple[int, ...]

    @staticmethod
    def of(name: str) -> "Topology":
        """From a name such as v5e:16x16, v5p:4x4x4 or h100:8."""
        kind, _, shape = name.partition(":")
        if kind not in CHIPS:
            near = catalogue.nearest(kind, list(CHIPS)) or f"there are {', '.join(CHIPS)}"
            raise ValueError(f"A topology names a chip and a shape, as v5e:16x16, got {name!r}; {near}.")
        sizes = tuple(int(size) for size in shape.split("x")) if re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape) else ()
        if len(sizes) != max(1, CHIPS[kind].axes):
            example = {0: "8", 2: "16x16", 3: "4x4x4"}[CHIPS[kind].axes]
            raise ValueError(f"The shape of {kind} is one such as {kind}:{example}, got {name!r}; give every axis.")
        if math.prod(sizes) > (most := CHIPS[kind].most):
            raise ValueError(f"At most {most} chips of {kind} are joined by its own links, got {name!r}; name fewer.")
        return Topology(name, CHIPS[kind], sizes)

    @property
    def count(self) -> int:
        """How many chips there are."""
        return math.prod(self.shape)

    def path(self, devices: int) -> tuple[tuple[int, ...], bool]:
        """The sizes of the axes that so many devices fill, and whether each of these is a ring.

        Devices that fill no axes lie in a row on one, without its wraparound.
        """
        for number in range(1, len(self.shape) + 1):
            for sizes in itertools.combinations(self.shape, number):
                if math.prod(sizes) == devices:
                    return sizes, all(size % self.chip.closed == 0 for size in sizes)
        return (devices,), False
