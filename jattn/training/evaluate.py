"""The held-out loss, in nats per token: every token scored once, or a fixed sample of a long text's windows."""

from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float

from jattn.part import Variables
from jattn.training import hosts, sharding, state
from jattn.training.objectives import Batch
from jattn.training.run import Run
from jattn.training.sources import Examples

# tokens in one call: enough to fill a CPU's cores, few enough for its caches
BATCH_TOKENS = 4096
# windows of the cheap evaluation during training
SAMPLE = 256
# tokens that are scored at the end, about: minutes on a CPU; windows spread over a longer text stand for the rest
MOST_TOKENS = 1 << 20
# up to so many windows the sample is the head of a permutation, 8 bytes a window
MOST_PERMUTED = 1 << 20

# what the objective shows and how much of it counts, each summed over a batch
Score = Callable[[Variables, Batch], tuple[dict[str, Float[Array, ""]], Float[Array, ""]]]


def scorer(run: Run) -> Score:
    """The compiled sums over what is scored in a batch; the loss is in nats."""
    forward = state.forward(run)

    @jax.jit
    def score(variables: Variables, batch: Batch) -> tuple[dict[str, Float[Array, ""]], Float[Array, ""]]:
        shown, counts = run.objective.measured(forward, variables, batch)
        return {name: (each * counts).sum() for name, each in shown.items()}, counts.sum()

    return score


def means_on(
    score: Score,
    variables: Variables,
    examples: Examples,
    numbers: Iterable[int],
    size: int,
    place: NamedSharding | None = None,
) -> dict[str, float]:
    """The means of what is scored in the examples with these numbers, `size` of them a call.

    Of several hosts, to which `place` deals the examples of a call, each reads its own.
    """
    totals: dict[str, float] = {}
    count = 0.0
    numbers = list(numbers)
    rows, put = (range(size), dict) if place is None else (hosts.rows(size, place), hosts.joined(size, place))
    for start in range(0, len(numbers), size):
        sums, counted = score(variables, put(_read(examples, numbers[start : start + size], rows)))
        totals = {name: totals.get(name, 0.0) + float(each) for name, each in sums.items()}
        count += float(counted)
    return {name: total / count for name, total in totals.items()}


def _read(examples: Examples, numbers: list[int], rows: Sequence[int]) -> dict[str, np.ndarray]:
    """These rows of a call; it is filled up with examples that do not count, so that one shape is compiled."""
    chosen = {row: examples[numbers[row]] for row in rows if row < len(numbers)}
    # of the last call a host may have none
    like = next(iter(chosen.values())) if chosen else examples[numbers[0]]
    blank = {name: np.zeros_like(array) for name, array in like.items()}
    read = {name: np.stack([chosen.get(row, blank)[name] for row in rows]) for name in like}
    # what is drawn for an example depends on its number
    number = [numbers[row] % 2**32 if row < len(numbers) else 0 for row in rows]
    return read | {"number": np.array(number, np.uint32)}


def batch_size(run: Run, examples: Examples) -> int:
    """Examples in one call, a multiple of the parts into which a mesh splits them."""
    axes = sharding.axes(run.mesh)
    parts = 1 if axes is None else axes.parts("batch")
    return parts * max(1, min(BATCH_TOKENS // run.tokens, len(examples)) // parts)


def whole(examples: Examples) -> Sequence[int]:
    """Numbers of the windows that score all that is held out, or of evenly spaced ones that score `MOST_TOKENS`."""
    count = len(examples)
    # every window scores as many tokens as the one in the middle, but for the first and the last
    most = max(1, MOST_TOKENS // max(1, int(examples[count // 2]["scored"].sum())))
    return range(count) if count <= most else [number * count // most for number in range(most)]


def held_out_loss(run: Run, variables: Variables) -> float:
    """The loss on all that is held out, or on the windows that stand for it."""
    examples = run.source.held_out(run.context)
    return means_on(scorer(run), variables, examples, whole(examples), batch_size(run, examples))["loss"]


def sample(run: Run, examples: Examples) -> list[int]:
    """Numbers of the windows that stand for the held-out text during training: the seed's choice, always the same."""
    random, count = np.random.default_rng(run.seed), len(examples)
    few = count <= MOST_PERMUTED
    chosen = random.permutation(count)[:SAMPLE] if few else random.choice(count, SAMPLE, replace=False)
    return sorted(int(number) for number in chosen)
