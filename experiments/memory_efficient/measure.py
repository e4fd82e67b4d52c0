"""Measures what is no training run: memory, time and agreement of three forms of attention, one head of 64.

python experiments/memory_efficient/measure.py [PART ...] [--smoke]: all parts or those named, each into its JSON.
"""

import argparse
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.flash_attention import flash_attention
from two_pass import QUERY_CHUNK, two_pass

import jattn
from jattn.benchmarks import compilers, report, turns

HERE = Path(__file__).parent
RESULTS, SMOKE_RESULTS = HERE / "results", Path("runs") / HERE.name / "smoke" / "results"
WIDTH = 64
CHIP = "v5e"
# what XLA says where a chip's memory is too small for a program
TOO_LARGE = "RESOURCE_EXHAUSTED"


class Setting(NamedTuple):
    """Lengths in tokens; `timed` are (length, rounds, calls a round), `compiled` lengths for a TPU.

    `keys` are those of a single query; `chunked` is the length of Figure 5, `chunks` its query chunks.
    """

    lengths: tuple[int, ...]
    compiled: tuple[int, ...]
    timed: tuple[tuple[int, int, int], ...]
    agreed: int
    keys: tuple[int, ...]
    chunked: int
    chunks: tuple[int, ...]


FULL = Setting(
    lengths=tuple(2**n for n in range(8, 21, 2)),
    compiled=tuple(2**n for n in range(8, 21, 2)),
    timed=((2**8, 5, 20), (2**10, 5, 10), (2**12, 5, 2), (2**14, 3, 1)),
    agreed=2**14,
    keys=(2**12, 2**16, 2**20),
    chunked=2**15,
    chunks=(16, 64, 256, 1024),
)
SMOKE = Setting(
    lengths=(16, 64),
    compiled=(128,),
    timed=((16, 1, 1), (64, 1, 1)),
    agreed=64,
    keys=(16, 64),
    chunked=64,
    chunks=(4, 64),
)


def standard(q, k, v):
    """JAX's own form, which has the whole matrix."""
    return jax.nn.dot_product_attention(q, k, v)


def tiled(q, k, v):
    """Ours."""
    return jattn.attend(q, k, v).out


def pallas(q, k, v):
    """JAX's own flash attention for TPUs, a kernel by hand; takes heads before tokens."""
    q, k, v = (x.swapaxes(0, 1)[None] for x in (q, k, v))
    return flash_attention(q, k, v, sm_scale=q.shape[-1] ** -0.5)[0].swapaxes(0, 1)


FORMS: dict[str, Callable] = {"standard": standard, "two-pass": two_pass, "jattn": tiled}


def directions(form: Callable) -> dict[str, Callable]:
    """The form itself, and the gradients of the sum of its outputs, as in Tables 2 and 3."""

    def total(q, k, v):
        return form(q, k, v).astype(jnp.float32).sum()

    return {"inference": form, "differentiation": jax.grad(total, (0, 1, 2))}


def shapes(queries: int, keys: int, dtype: Any = jnp.float32) -> list[jax.ShapeDtypeStruct]:
    """Query, key and value of one head, without data."""
    return [jax.ShapeDtypeStruct((n, 1, WIDTH), dtype) for n in (queries, keys, keys)]


def drawn(length: int, number: int) -> list[jax.Array]:
    """So many arrays of normal draws."""
    return [jax.random.normal(jax.random.key(n), (length, 1, WIDTH)) for n in range(number)]


def memory(setting: Setting) -> list[dict]:
    """Bytes that the compiled programs allocate beside arguments and results; nothing runs."""
    return [
        {"form": name, "direction": direction, "length": n, "bytes": turns.compiled(call, *shapes(n, n))[1]}
        for n in setting.lengths
        for name, form in FORMS.items()
        for direction, call in directions(form).items()
    ]


def times(setting: Setting) -> list[dict]:
    """Milliseconds a call: the median over rounds, the least and the greatest."""
    found = []
    for (length, rounds, calls), direction in itertools.product(setting.timed, ("inference", "differentiation")):
        made = {name: _turn(directions(form)[direction], length) for name, form in FORMS.items()}
        for name, taken in turns.interleaved(made, rounds, calls).items():
            found.append({"form": name, "direction": direction, "length": length, "ms": turns.spread(taken)._asdict()})
    return found


def figure_5(setting: Setting) -> list[dict]:
    """Inference, queries alone in chunks or both, with tiles of as many elements; the second of two calls."""
    n = setting.chunked
    forms: dict[tuple[str, int | None], Callable] = {("standard", None): standard, ("jattn", None): tiled}
    for chunk in setting.chunks:
        rows = min(QUERY_CHUNK, n)
        forms["queries alone", chunk] = functools.partial(two_pass, query_chunk=chunk, key_chunk=n)
        forms["both", chunk] = functools.partial(two_pass, query_chunk=rows, key_chunk=max(1, chunk * n // rows))
    found = []
    for (name, chunk), form in forms.items():
        turn = _turn(form, n)
        turn()
        began = time.perf_counter()
        turn()
        taken = turns.spread([1e3 * (time.perf_counter() - began)])._asdict()
        held = turns.compiled(form, *shapes(n, n))[1]
        found.append({"form": name, "chunk": chunk, "length": n, "ms": taken, "bytes": held})
    return found


def agreement(setting: Setting) -> list[dict]:
    """Largest errors of outputs and gradients against float64, and the float32 spacing at the largest value."""
    *arrays, cotangent = drawn(setting.agreed, 4)
    right = exact(*(np.asarray(x[:, 0], np.float64) for x in (*arrays, cotangent)))
    found = []
    for name, form in FORMS.items():
        out, pull = jax.vjp(jax.jit(form), *arrays)
        for array, ours, best in zip(("out", "dq", "dk", "dv"), (out, *pull(cotangent)), right, strict=True):
            spacing = np.spacing(np.float32(np.abs(best).max()))
            error = np.abs(np.asarray(ours[:, 0], np.float64) - best).max()
            found.append({"form": name, "array": array, "error": float(error), "spacing": float(spacing)})
    return found


def exact(q: np.ndarray, k: np.ndarray, v: np.ndarray, g: np.ndarray, rows: int = 512) -> tuple[np.ndarray, ...]:
    """Output, and gradients of q, k and v where that of the output is g; some rows at a time."""
    scale = q.shape[-1] ** -0.5
    out, dq, dk, dv = np.zeros_like(g), *map(np.zeros_like, (q, k, v))
    for start in range(0, len(q), rows):
        block = slice(start, start + rows)
        logits = scale * q[block] @ k.T
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        out[block] = weights @ v
        slopes = g[block] @ v.T
        slopes = scale * weights * (slopes - (slopes * weights).sum(-1, keepdims=True))
        dq[block] = slopes @ k
        dk += slopes.T @ q[block]
        dv += weights.T @ g[block]
    return out, dq, dk, dv


def single_query(setting: Setting) -> list[dict]:
    """Bytes for one query against more and more keys."""
    return [
        {"form": name, "keys": keys, "bytes": turns.compiled(form, *shapes(1, keys))[1]}
        for keys in setting.keys
        for name, form in FORMS.items()
    ]


def tpu(dtype: Any, setting: Setting) -> list[dict]:
    """Bytes of the programs for one v5e chip, in its main memory; None, and why, where its compiler refuses one."""
    found = []
    for n, (name, form) in itertools.product(setting.compiled, {**FORMS, "pallas": pallas}.items()):
        for direction, call in directions(form).items():
            row = {"form": name, "direction": direction, "length": n}
            try:
                program = compilers.compiled(call, *shapes(n, n, dtype), chip=CHIP)
            except jax.errors.JaxRuntimeError as error:
                why = "out of memory" if TOO_LARGE in str(error) else str(error).splitlines()[0]
                found.append({**row, "bytes": None, "why": why})
            else:
                found.append({**row, "bytes": turns.temporary_bytes(program)})
    return found


PARTS: dict[str, Callable[[Setting], list[dict]]] = {
    "memory": memory,
    "single_query": single_query,
    "tpu_bfloat16": functools.partial(tpu, jnp.bfloat16),
    "tpu_float32": functools.partial(tpu, jnp.float32),
    "agreement": agreement,
    "times": times,
    "figure_5": figure_5,
}


def write(folder: Path, name: str, rows: list[dict]) -> None:
    """A line a row, with machine and versions."""
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    head = f'"machine": {json.dumps(report.machine())},\n"versions": {json.dumps(report.versions())}'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(f'{{\n{head},\n"rows": [\n{lines}\n]\n}}\n', encoding="utf-8")


def _turn(call: Callable, length: int) -> turns.Turn:
    arrays = drawn(length, 3)
    made, _ = turns.compiled(call, *arrays)
    return lambda: jax.block_until_ready(made(*arrays))


def main(words: list[str]) -> int:
    """Measures and writes, and says where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, kept apart from the true results")
    chosen = parser.parse_args(words)
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"A part is one of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}.")
    setting, folder = (SMOKE, SMOKE_RESULTS) if chosen.smoke else (FULL, RESULTS)
    for name in chosen.parts or PARTS:
        if name.startswith("tpu") and (told := compilers.missing(CHIP)):
            print(f"{name} is left out. {told}", flush=True)
            continue
        write(folder, name, PARTS[name](setting))
        print(folder / f"{name}.json", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
