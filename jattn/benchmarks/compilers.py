"""Compiles for a TPU v5e or an H100 on a machine that has neither, by the compilers that would serve there.

Nothing runs: what a compiled program tells is its memory and its optimized HLO. Figures that the compilers estimate
count the body of a loop once.
"""

import contextlib
import functools
import importlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from jattn import extras

# what a topology of `jax.experimental.topologies` has as `target_config` on an H100 SXM, cut to what the compiler asks
# for; the same numbers stand in XLA's sources, xla/backends/gpu/target_config/specs/h100_sxm.txtpb
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84942979072
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 7 }
runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""

TPU = "v5e"
# by chip: the libraries that compile for it, and how its topology is asked for
CHIPS: dict[str, tuple[tuple[str, ...], dict]] = {
    TPU: (("libtpu",), {"platform": "tpu", "topology_name": "v5e:2x2"}),
    "h100": (
        ("jax_cuda12_plugin", "nvidia.cuda_nvcc"),
        {"platform": "cuda", "target_config": H100, "topology": "1x1x1"},
    ),
}
# libtpu asks the network where it runs, and for itself alone, unless told; it reads this when it is first loaded
TPU_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def missing(chip: str) -> str | None:
    """What to install so that this machine compiles for the chip, in one sentence; None where it can."""
    libraries, _ = CHIPS[chip]
    for library in libraries:
        try:
            importlib.import_module(library)
        except ModuleNotFoundError as error:
            return extras.sentence(f"Compiling for {chip}", error)
    return None


@functools.cache
def devices(topology: str) -> tuple[jax.Device, ...]:
    """The devices of a topology such as v5e:16x16 or h100:8, to compile for; without a shape a few.

    Raises RuntimeError with one sentence where this machine cannot.
    """
    name, _, shape = topology.partition(":")
    chip = name if name in CHIPS else TPU
    if told := missing(chip):
        raise RuntimeError(told)
    options = dict(CHIPS[chip][1])
    if shape:
        options |= {"topology_name": topology} if chip == TPU else {"topology": f"1x1x{shape}"}
    if chip == TPU:
        for variable, value in TPU_ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
    try:
        return tuple(topologies.get_topology_desc(**options).devices)
    except NotImplementedError as error:
        raise RuntimeError(
            f"Compiling for {name} needs its compiler registered, got {error}; where no GPU is, set JAX_PLATFORMS=cpu "
            f"before the first computation."
        ) from error


def device(chip: str) -> jax.Device:
    """One device of that kind, to compile for; raises RuntimeError with one sentence where this machine cannot."""
    return devices(chip)[0]


@contextlib.contextmanager
def uncached() -> Iterator[None]:
    """What is compiled in its body is not kept: the persistent cache would hold what nothing here can read back."""
    limit = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, limit)
    jax.config.update(limit, float("inf"))
    try:
        yield
    finally:
        jax.config.update(limit, before)


def compiled(function: Callable, *arguments: Any, chip: str) -> jax.stages.Compiled:
    """The function compiled for one chip, from arguments or their `jax.ShapeDtypeStruct`s."""
    target = device(chip)
    here = SingleDeviceSharding(target)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), arguments)
    # traced as for that chip: what is traced for another is kept apart
    with uncached(), jax.default_device(target):
        return jax.jit(function).lower(*shapes).compile()
