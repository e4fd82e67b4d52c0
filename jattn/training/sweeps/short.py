"""Shortens a run to seconds, with every stage in it: what would fail after hours fails at once."""

import dataclasses

from jattn.part import part
from jattn.training.run import Run
from jattn.training.sources import Examples, Source

STEPS, BATCH, CONTEXT = 4, 2, 16
HELD_OUT = 8


@part
class Few(Source):
    """The first few of another source's held-out examples."""

    inner: Source

    @property
    def vocabulary(self) -> int:
        return self.inner.vocabulary

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
        context=min(run.context, CONTEXT),
        evaluate_every=min(run.evaluate_every, STEPS // 2),
        checkpoint_every=min(run.checkpoint_every, STEPS // 2),
    )
