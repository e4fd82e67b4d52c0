"""What every test runs under: the CPU, and compiled code kept between runs."""

import ctypes
import gc
import os
import tempfile
from pathlib import Path

# a user who runs the suite on a machine with an accelerator still tests on the CPU, whose numbers are known
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# compiling is most of the suite's time, half of it in passes of LLVM and fusions that short tests never earn back;
# level 0 would save another fifth, but XLA for CPU then gets gradients of learned scores wrong
FASTER = (
    "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
    # one module a program: the workers have no core to spare for parts
    " --xla_cpu_parallel_codegen_split_count=1"
)
os.environ.setdefault("XLA_FLAGS", FASTER)

# in bytes; two workers and what tests start fit into a machine of 16 GB
MOST_RESIDENT = 4 * 2**30

import jax  # noqa: E402
import pytest  # noqa: E402

if not jax.config.jax_compilation_cache_dir:
    jax.config.update("jax_compilation_cache_dir", str(Path(tempfile.gettempdir()) / "jattn_jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
# a rank that broadcasts by accident is a mistake; where it is meant, the axis is written
jax.config.update("jax_numpy_rank_promotion", "raise")

from jaxtyping import install_import_hook  # noqa: E402

import tests.typecheck  # noqa: E402, F401

# shapes in signatures are checked at every call; not where a part refuses a wrong option itself, which comes later
CHECKED = ["jattn.numerics", "jattn.engines", "jattn.parts.normalizers", "jattn.parts.positions"]
install_import_hook(CHECKED, "tests.typecheck.checked")


def pytest_collection_finish():
    """Spares the collector what stays, modules for the most part, which a tenth of the time of a test went to."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Forgets compiled programs between files where they have grown to gigabytes; the cache on disk gives them back."""
    # first what the test replaced comes back, the opening of files too
    yield
    if nextitem is not None and nextitem.path != item.path and resident() > MOST_RESIDENT:
        jax.clear_caches()
        gc.collect()
        # glibc keeps for itself what was freed, and every file that follows would be forgotten too
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def resident() -> int:
    """Bytes that this process holds in memory; 0 where the system does not tell."""
    told = Path("/proc/self/statm")
    return int(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if told.exists() else 0


@pytest.fixture(scope="session")
def shakespeare_folder(tmp_path_factory):
    """The embedded works as a prepared data set."""
    from jattn.training.data import prepare_shakespeare

    folder = tmp_path_factory.mktemp("prepared")
    prepare_shakespeare.main(["--data-dir", str(folder)])
    return folder
