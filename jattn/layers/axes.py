"""Names of the axes of weights and activations, and how a mesh of devices splits them.

Source: Xu et al., "GSPMD: General and Scalable Parallelization for ML Computation Graphs", 2021, arXiv:2105.04663,
section 3.
"""

import dataclasses
import math

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

# the metadata of an `nnx.Variable` that names its last axes; those in front, such as that of stacked layers, have none
NAMES = "axes"


@dataclasses.dataclass(frozen=True)
class Axes:
    """A mesh, and for each name the mesh axes that split it; a name without any is on every device whole."""

    mesh: Mesh
    rules: tuple[tuple[str, tuple[str, ...]], ...]

    def over(self, name: str | None) -> tuple[str, ...]:
        """The mesh axes that split a name."""
        return dict(self.rules).get(name, ())

    def parts(self, name: str | None) -> int:
        """Into how many parts the mesh splits it."""
        return math.prod(self.mesh.shape[axis] for axis in self.over(name))

    def spec(self, *names: str | None) -> PartitionSpec:
        """How an array is split whose axes have these names."""
        return PartitionSpec(*(self.over(name) or None for name in names))

    def sharding(self, *names: str | None) -> NamedSharding:
        """Where an array lies whose axes have these names."""
        return NamedSharding(self.mesh, self.spec(*names))


def constrained(axes: Axes | None, x: Shaped[Array, "..."], *names: str | None) -> Shaped[Array, "..."]:
    """x, split as its names say; as it is where there is no mesh."""
    return x if axes is None else jax.lax.with_sharding_constraint(x, axes.sharding(*names))
