"""Several hosts that train one run, a process each: how they join, agree and stop together, and what each reads."""

import contextlib
import functools
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jattn.layers.axes import Axes
from jattn.training.run import Run
from jattn.training.stopping import Stopping

# a host that has said nothing for so long is given up, and the others end
SILENCE_SECONDS = 30
# for so long a share may hide a new file from other hosts
SHARED_SECONDS = 60
# what hosts tell one another is filled up to a multiple of this: few lengths are few programs
PIECE_BYTES = 2048


def begin(coordinator: str, count: int | None, number: int | None) -> None:
    """Joins the hosts of a run, before any device is touched; `auto` asks the TPU pod or Slurm who they are."""
    if number == 0:
        _check_free(coordinator)
    # of the platforms the CPU alone has a choice
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # its handler of SIGTERM would leave a host that hangs deaf to it
    jax.config.update("jax_enable_preemption_service", False)
    auto = coordinator == "auto"
    who = "all hosts" if auto else f"{count} hosts at {coordinator}, of which this is {number}"
    print(f"Waits up to five minutes for {who}.", file=sys.stderr, flush=True)
    try:
        jax.distributed.initialize(
            None if auto else coordinator,
            count,
            number,
            cluster_detection_method=None if auto else "deactivate",
            heartbeat_timeout_seconds=SILENCE_SECONDS,
        )
    except (RuntimeError, ValueError, OSError) as error:
        if auto and isinstance(error, ValueError):
            raise ValueError(
                "--hosts.coordinator auto needs a TPU pod or Slurm, got neither; give HOST:PORT of host 0, "
                "--hosts.count and --hosts.number."
            ) from None
        where = "each other" if auto else f"host 0 at {coordinator}"
        raise RuntimeError(
            f"All hosts must begin within five minutes and reach {where}, got {_line(error)}; see to the others, and "
            f"to a port that is free and open."
        ) from None


def _check_free(coordinator: str) -> None:
    port = int(coordinator.rpartition(":")[2])
    with socket.socket() as probe:
        # of a run that has just ended the port is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise OSError(
                f"--hosts.coordinator must name a port that host 0 can open, got {port}: {error.strerror}; name "
                f"another, on every host."
            ) from None


def end() -> None:
    """Leaves the other hosts, once all are done."""
    if several():
        jax.distributed.shutdown()


def first() -> bool:
    """Whether this host writes what is written once."""
    return jax.process_index() == 0


def several() -> bool:
    """Whether more than one host trains."""
    return jax.process_count() > 1


def words(own: str) -> list[str]:
    """What each host says, by its number; every host must ask."""
    if not several():
        return [own]
    longest = int(multihost_utils.process_allgather(np.array(len(own.encode()))).max())
    size = -(-max(1, longest) // PIECE_BYTES) * PIECE_BYTES
    said = np.frombuffer(own.encode().ljust(size, b"\0"), np.uint8)
    return [bytes(each).rstrip(b"\0").decode() for each in multihost_utils.process_allgather(said)]


def same(value: Any) -> Any:
    """Plain data as host 0 has it."""
    return json.loads(words(json.dumps(value))[0]) if several() else value


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A body that is refused by every host where one refuses it; in it none may wait for another."""
    refused = None
    try:
        yield
    except (ValueError, TypeError, OSError, RuntimeError, ModuleNotFoundError) as error:
        if not several():
            raise
        refused = error
    said = words("" if refused is None else str(refused) or type(refused).__name__)
    if refused is not None:
        raise refused
    if other := next(filter(None, said), None):
        raise ValueError(other)


def sees(file: Path) -> None:
    """Refuses a directory that is another on this host than on host 0, which has written this file."""
    until = time.monotonic() + SHARED_SECONDS
    while several() and not file.is_file():
        if time.monotonic() > until:
            raise FileNotFoundError(
                f"Hosts must write into one directory, got {str(file.parent)!r} without host 0's {file.name} on host "
                f"{jax.process_index()}; name one on a share that all of them see."
            )
        time.sleep(0.1)


def lost(error: BaseException | None) -> BaseException | None:
    """Of an error and those that led to it, the one that the devices of several hosts raised; most often one is gone.

    It has no class of its own, but begins with the name of a status, as in `UNKNOWN: Gloo AllReduce failed`.
    """
    # so does what a disk refuses, which names its code
    while error is not None and not re.match(r"(?s)[A-Z_]{5,}: (?!.*os_error_code)", str(error)):
        error = error.__cause__ or error.__context__
    return error if several() else None


@contextlib.contextmanager
def watched(directory: Path) -> Iterator[None]:
    """Turns what the devices of several hosts raise into a sentence."""
    try:
        yield
    except Exception as error:
        if not (found := lost(error)):
            raise
        raise RuntimeError(
            f"Every host must run to the end, got {_line(found)!r} on host {jax.process_index()}, most often because "
            f"another has gone; jattn train --resume {directory} with its --hosts options on every host goes on from "
            f"the last whole checkpoint."
        ) from None


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def check(run: Run, axes: Axes | None) -> None:
    """Refuses hosts that hold other runs, a mesh that leaves a host out, and data of too few shards."""
    if not several():
        return
    first, *others = (json.loads(each) for each in words(run.to_json()))
    for number, other in enumerate(others, 1):
        if differs := differing(first, other):
            option, here, there = differs
            raise ValueError(
                f"Hosts must hold one run, got {option} {here} on host 0 and {there} on host {number}; give all the "
                f"same options but --hosts.number."
            )
    hosts = jax.process_count()
    held = 0 if axes is None else len({device.process_index for device in axes.mesh.devices.flat})
    if held < hosts:
        raise ValueError(
            f"A mesh must hold devices of each of the {hosts} hosts, got those of {max(held, 1)}; use --mesh.data -1, "
            f"or fewer hosts."
        )
    with together():
        shards = run.source.shards()
    if shards is not None and shards < hosts:
        raise ValueError(
            f"A data set must have a shard for each of the {hosts} hosts, got {shards}; prepare it in more shards, or "
            f"train on fewer hosts."
        )


def differing(one: Any, other: Any, option: str = "--") -> tuple[str, str, str] | None:
    """The first option in which plain data of two runs differ, as a command line names it, and its two values."""
    if isinstance(one, dict) and isinstance(other, dict) and one["name"] == other["name"]:
        for name, value in one.items():
            path = f"{option}.{name}" if option != "--" else f"--{name}"
            if found := differing(value, other.get(name), path.replace("_", "-")):
                return found
        return None
    if one == other:
        return None
    return option, *(str(value["name"] if isinstance(value, dict) else value) for value in (one, other))


def rows(batch: int, place: NamedSharding) -> list[int]:
    """The rows of a batch that this host's devices hold, in order."""
    cuts = place.addressable_devices_indices_map((batch,)).values()
    return sorted({row for (cut,) in cuts for row in range(batch)[cut]})


def mine(examples: grain.MapDataset, batch: int, place: NamedSharding) -> grain.MapDataset:
    """Of each batch the rows that this host's devices hold; `examples` go on and on."""
    own = rows(batch, place)

    def local(number: int) -> dict[str, np.ndarray]:
        chosen = [examples[int(number) * batch + row] for row in own]
        return {name: np.stack([each[name] for each in chosen]) for name in chosen[0]}

    return grain.MapDataset.range(sys.maxsize // batch).map(local)


def joined(batch: int, place: NamedSharding) -> Callable[[dict[str, np.ndarray]], dict[str, Any]]:
    """Makes the global batch of the rows that each host has read."""
    own = rows(batch, place)

    def join(held: dict[str, np.ndarray]) -> dict[str, Any]:
        def one(local: np.ndarray) -> jax.Array:
            def cut(index: tuple[slice, ...]) -> np.ndarray:
                start, stop, _ = index[0].indices(batch)
                first = own.index(start)
                return local[first : first + stop - start]

            return jax.make_array_from_callback((batch, *local.shape[1:]), place, cut)

        return {name: one(local) for name, local in held.items()}

    return join


def settle(shown: Any) -> None:
    """Waits for a step of several hosts on CPU, whose collectives may wait for one another for ever where two run."""
    if several() and jax.default_backend() == "cpu":
        jax.block_until_ready(shown)


class Asked:
    """Whether a host was asked to stop, in one answer for all of them; every host must ask equally often.

    Among several hosts an answer is that to the question before, which devices have long exchanged: none waits for it.
    """

    def __init__(self, stopping: Stopping):
        self.stopping = stopping
        self.before = None

    def __call__(self) -> bool:
        if not several():
            return self.stopping.asked
        answer, self.before = self.before, _any(self.stopping.asked)
        return answer is not None and bool(answer)


def _any(own: bool) -> jax.Array:
    place, largest = _vote()
    votes = jax.make_array_from_callback((jax.device_count(),), place, lambda _: np.full(1, own, np.int32))
    answer = largest(votes)
    settle(answer)
    return answer


@functools.cache
def _vote() -> tuple[NamedSharding, Callable[[jax.Array], jax.Array]]:
    mesh = Mesh(np.array(jax.devices()), ("devices",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    return NamedSharding(mesh, PartitionSpec("devices")), jax.jit(jnp.max, out_shardings=everywhere)
