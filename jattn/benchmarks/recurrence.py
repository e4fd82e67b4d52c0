"""Times each form of Mega's moving average beside single steps, as tokens double, once all give what these do.

Times are those of the value and all gradients together; temporary memory is that of the compiled program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jattn.benchmarks import REFUSED, Row, turns
from jattn.engines import recurrent
from jattn.part import Dims
from jattn.parts.transitions.damped_ema import DampedEma

PEER = "sequential"
FORMS = (PEER, *(form for form in recurrent.FORMS if form != PEER))
ORIGIN = "Mega's width and averages for enwik8"
# what single precision may be off, of the largest number
CLOSE = 1e-5
# a program that allocates more is not run
MOST_TEMPORARY = 8 << 30


class Point(NamedTuple):
    """A length, how often it is timed, and of how many calls a time is the median."""

    length: int
    rounds: int
    turns: int = 1


class Setting(NamedTuple):
    """Channels, averages of each, and lengths that double."""

    channels: int
    expansion: int
    points: tuple[Point, ...]


FULL = Setting(
    512,
    16,
    (
        Point(64, 5, 50),
        Point(128, 5, 30),
        Point(256, 5, 20),
        Point(512, 5, 10),
        Point(1024, 5, 5),
        Point(2048, 5, 3),
        Point(4096, 5),
        Point(8192, 5),
        Point(16384, 3),
        Point(32768, 3),
        Point(65536, 3),
    ),
)
SMOKE = Setting(4, 2, (Point(16, 1), Point(32, 1)))


def measure(setting: Setting) -> list[Row]:
    """A row for each length and form; forms that are wrong at the shortest length have a row that says so alone."""
    wrong = _wrong(setting)
    title = f"gradient, {setting.channels} channels of {setting.expansion} averages"
    rows = [Row(title, form, None, None, PEER, note=f"{REFUSED}{why}") for form, why in wrong.items()]
    for point in setting.points:
        rows += _measured(title, setting, point, [form for form in FORMS if form not in wrong])
    return rows


def pictures(rows: list[Row]) -> dict[str, Any]:
    """Times as ratios to single steps, in which the lowest form wins, and memory, both against the length."""
    from jattn.benchmarks.pictures import log_log

    times = _lines((row, row.ratio.median) for row in rows if row.ratio)
    memory = _lines((row, row.temporary_bytes / 2**20) for row in rows if row.temporary_bytes)
    return {
        "time": log_log(times, "tokens", "time, single steps = 1"),
        "memory": log_log(memory, "tokens", "temporary MiB"),
    }


def _lines(points: Any) -> dict[str, dict[str, list]]:
    """By case and form, pairs of length and figure."""
    found: dict[str, dict[str, list]] = {}
    for row, figure in points:
        found.setdefault(row.case, {}).setdefault(row.contender, []).append((row.length, figure))
    return found


def _measured(title: str, setting: Setting, point: Point, forms: list[str]) -> list[Row]:
    given, run, memory, notes = _given(setting, point.length), {}, {}, {}
    for form in forms:
        made, memory[form] = turns.compiled(_gradient(setting, form), *given)
        if (memory[form] or 0) <= MOST_TEMPORARY:
            run[form] = lambda made=made: jax.block_until_ready(made(*given))
        else:
            notes[form] = f"over {MOST_TEMPORARY >> 30} GiB, not run"
    taken = turns.interleaved(run, point.rounds, point.turns)
    rows = turns.rows(title, taken, PEER, memory, notes)
    rows += [Row(title, form, None, None, PEER, memory[form], note) for form, note in notes.items()]
    return [row._replace(origin=ORIGIN, length=point.length) for row in rows]


def _wrong(setting: Setting) -> dict[str, str]:
    """Forms whose value or gradients are not those of single steps in float64, and by how much."""
    given, found = _given(setting, setting.points[0].length), {}
    with jax.enable_x64(True):
        widened = jax.tree.map(lambda x: jnp.asarray(np.asarray(x, np.float64)), given)
        wanted = jax.device_get(jax.jit(_gradient(setting, PEER))(*widened))
    for form in FORMS:
        got = jax.device_get(jax.jit(_gradient(setting, form))(*given))
        off = max(jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max() / np.abs(a).max()), wanted, got)))
        # written so that a NaN is refused too
        if not off <= CLOSE:
            found[form] = (
                f"what is timed must equal single steps in float64 within {CLOSE:.0e}, got {off:.1e} for {form}; mend "
                f"it first."
            )
    return found


def _given(setting: Setting, length: int) -> tuple[dict, jax.Array, jax.Array]:
    """Learned arrays as they start, tokens, and the gradient of the output; normal noise, the same for every form."""
    learned, tokens, slope = jax.random.split(jax.random.key(0), 3)
    dims = Dims(1, 1, 1, *(setting.channels,) * 3)
    shape = length, setting.channels
    params = DampedEma(setting.expansion).init(learned, dims).params
    return params, jax.random.normal(tokens, shape), jax.random.normal(slope, shape)


def _gradient(setting: Setting, form: str) -> Callable:
    """From learned arrays, tokens and the output's gradient to the output and all gradients."""
    transition = DampedEma(setting.expansion)

    def function(params, x, slope):
        out, pull = jax.vjp(lambda params, x: recurrent.recur(transition, params, x, form=form)[0], params, x)
        return out, pull(slope)

    return function
