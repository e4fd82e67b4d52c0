"""Chips that are not here are compiled for all the same, and what is missing for that is told."""

import warnings

import jax
import jax.numpy as jnp
import pytest

from jattn.benchmarks import compilers
from tests.support import needs_compiler

SHAPE = jax.ShapeDtypeStruct((256, 128), jnp.bfloat16)


def product(pair):
    return pair["left"] @ pair["right"].T


@pytest.mark.parametrize("chip, kind", [("v5e", "TPU v5 lite"), ("h100", "NVIDIA H100 80GB HBM3")])
def test_it_compiles_for_the_chip_it_names(chip, kind):
    needs_compiler(chip)
    assert compilers.device(chip).device_kind == kind
    program = compilers.compiled(product, {"left": SHAPE, "right": SHAPE}, chip=chip)
    assert program.memory_analysis().output_size_in_bytes == 256 * 256 * 2
    assert "ENTRY" in program.as_text()


def test_a_cache_of_compiled_code_is_left_alone():
    needs_compiler("h100")
    limit = jax.config.jax_persistent_cache_min_compile_time_secs
    with warnings.catch_warnings():
        # an entry that cannot be read back is warned of
        warnings.simplefilter("error")
        for _ in range(2):
            jax.clear_caches()
            compilers.compiled(product, {"left": SHAPE, "right": SHAPE}, chip="h100")
    assert jax.config.jax_persistent_cache_min_compile_time_secs == limit


@pytest.mark.parametrize("chip", compilers.CHIPS)
def test_what_is_missing_is_told_by_its_extra(chip, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(compilers.importlib, "import_module", absent)
    library, extra = {"v5e": ("libtpu", "tpu-compile"), "h100": ("jax_cuda12_plugin", "gpu-compile")}[chip]
    told = f'Compiling for {chip} needs {library}, which is not installed; pip install "jattn[{extra}]" brings it.'
    assert compilers.missing(chip) == told
    compilers.devices.cache_clear()
    with pytest.raises(RuntimeError) as refused:
        compilers.device(chip)
    assert str(refused.value) == told


def test_a_compiler_that_is_not_registered_is_told(monkeypatch):
    def unknown(**_):
        raise NotImplementedError("topology not implemented for cuda")

    monkeypatch.setattr(compilers, "missing", lambda chip: None)
    monkeypatch.setattr(compilers.topologies, "get_topology_desc", unknown)
    compilers.devices.cache_clear()
    with pytest.raises(RuntimeError, match=r"^Compiling for h100 .* for cuda; where no GPU is, set JAX_PLATFORMS=cpu"):
        compilers.device("h100")
