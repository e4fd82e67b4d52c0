"""Several hosts that train one run, a process each: who they are, that they agree, and what each of them reads."""

import hashlib
import sys
from collections.abc import Callable
from typing import Any

import grain
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from jattn.layers.axes import Axes
from jattn.training.run import Run


def begin(coordinator: str, count: int | None, number: int | None) -> None:
    """Joins the hosts of a run, before any device is touched; `auto` asks the TPU pod or Slurm who they are."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        None if coordinator == "auto" else coordinator, count, number, heartbeat_timeout_seconds=40
    )


def first() -> bool:
    """Whether this host writes what is written once."""
    return jax.process_index() == 0


def several() -> bool:
    """Whether more than one host trains."""
    return jax.process_count() > 1


def wait(name: str) -> None:
    """Waits for all hosts."""
    if several():
        multihost_utils.sync_global_devices(name)


def check(run: Run, axes: Axes | None) -> None:
    """Refuses hosts that hold other runs, and a mesh that leaves a host without examples."""
    if not several():
        return
    own = np.frombuffer(hashlib.sha256(run.to_json().encode()).digest(), np.uint8)
    found = multihost_utils.process_allgather(own)
    if other := [number for number, each in enumerate(found) if not np.array_equal(each, found[0])]:
        raise ValueError(
            f"Hosts must hold one run, got another on host {other[0]} than on host 0; give all the same options."
        )
    hosts = jax.process_count()
    held = 0 if axes is None else len({device.process_index for device in axes.mesh.devices.flat})
    parts = 1 if axes is None else axes.parts("batch")
    if held < hosts or parts % hosts:
        raise ValueError(
            f"Each of {hosts} hosts must hold a part of the batch, got {parts} parts on {max(held, 1)} hosts; use "
            f"--mesh.data -1 or a multiple of {hosts}."
        )


def mine(examples: grain.MapDataset, batch: int, place: NamedSharding) -> grain.MapDataset:
    """Of each batch the rows that this host's devices hold, in order; `examples` go on and on."""
    cuts = place.addressable_devices_indices_map((batch,)).values()
    rows = sorted({row for (cut,) in cuts for row in range(batch)[cut]})

    def local(number: int) -> dict[str, np.ndarray]:
        chosen = [examples[int(number) * batch + row] for row in rows]
        return {name: np.stack([each[name] for each in chosen]) for name in chosen[0]}

    return grain.MapDataset.range(sys.maxsize // batch).map(local)


def joined(batch: int, place: NamedSharding) -> Callable[[dict[str, np.ndarray]], dict[str, Any]]:
    """Makes the global batch of the rows that each host has read."""

    def join(held: dict[str, np.ndarray]) -> dict[str, Any]:
        return {
            name: jax.make_array_from_process_local_data(place, rows, (batch, *rows.shape[1:]))
            for name, rows in held.items()
        }

    return join
