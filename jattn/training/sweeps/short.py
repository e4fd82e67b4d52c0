"""Shortens a run to seconds, with every stage in it: what would fail after hours fails at once."""

import contextlib
import dataclasses
from collections.abc import Iterator

import jax

from jattn.training.run import Run
from jattn.training.sources import Examples, Source
from jattn.training.sweeps import results
from jattn.training.sweeps.names import Planned
from jattn.training.sweeps.sweep import Here

STEPS, BATCH, CONTEXT = 4, 2, 16
HELD_OUT = 8


# no @part: the catalogue shows what one chooses, and nobody chooses this
@dataclasses.dataclass(frozen=True)
class Few(Source):
    """The first few of another source's held-out examples."""

    inner: Source

    @property
    def vocabulary(self) -> int:
        return self.inner.vocabulary

    @property
    def unit(self) -> str:
        return self.inner.unit

    @property
    def shortest(self) -> int:
        return self.inner.shortest

    @property
    def needs(self) -> dict[str, int]:
        return self.inner.needs

    def outline(self, context: int) -> dict[str, jax.ShapeDtypeStruct]:
        return self.inner.outline(context)

    def units(self, context: int) -> int:
        return self.inner.units(context)

    def train(self, context: int, seed: int) -> Examples:
        return self.inner.train(context, seed)

    def held_out(self, context: int) -> Examples:
        examples = self.inner.held_out(context)
        return [examples[number] for number in range(min(HELD_OUT, len(examples)))]


def shortened(run: Run) -> Run:
    """The same model, objective and optimizer on less of everything else."""
    return dataclasses.replace(
        run,
        source=Few(run.source),
        steps=min(run.steps, STEPS),
        # each piece of an accumulated batch needs a window
        batch=min(run.batch, max(BATCH, run.accumulate)),
        context=min(run.context, max(CONTEXT, run.source.shortest)),
        evaluate_every=min(run.evaluate_every, STEPS // 2),
        checkpoint_every=min(run.checkpoint_every, STEPS // 2),
    )


class Once:
    """Begins shortened runs in this process; one trains, and stands for those that differ from it in numbers alone.

    These are the seed and the numbers of its optimizer: each would be compiled anew, which is nearly all of the time.
    """

    def __init__(self):
        self.first: dict[Run, Planned] = {}

    def __call__(self, planned: Planned) -> Here:
        usual = type(planned.run.optimizer)()
        numbers = {
            field.name: getattr(usual, field.name)
            for field in dataclasses.fields(usual)
            if isinstance(getattr(usual, field.name), float)
        }
        alike = dataclasses.replace(
            planned.run, seed=0, optimizer=dataclasses.replace(planned.run.optimizer, **numbers)
        )
        first = self.first.setdefault(alike, planned)
        if first is not planned and (held := results.read(first.result, first.run)):
            diverged = held["reached"].get("diverged")
            results.write(planned.result, results.record(planned.run, first.directory, diverged))
        return Here(planned)


@contextlib.contextmanager
def compiled_fast() -> Iterator[None]:
    """Lets XLA compile without optimizing: a few short steps never earn that back."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
