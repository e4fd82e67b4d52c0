"""The log of SPU as it is read on the other side; running it is shown beside `jattn.costs.private`."""

import platform

import numpy as np
import pytest

from jattn.costs import spu_parties

LOG = """[2026-01-01] [info] [api.cc:220] HLO profiling: total time 0.0005
[2026-01-01] [info] [api.cc:223] - pphlo.multiply, executed 2 times, duration 0.0004s, send bytes 40 recv bytes 40, send actions 2, recv actions 2
[2026-01-01] [info] [api.cc:220] HLO profiling: total time 0.0006
[2026-01-01] [info] [api.cc:223] - pphlo.reduce, executed 1 times, duration 1e-05s, send bytes 0 recv bytes 0, send actions 0, recv actions 0
[2026-01-01] [info] [api.cc:223] - pphlo.reduce, executed 1 times, duration 1e-05s, send bytes 0 recv bytes 0, send actions 0, recv actions 0
[2026-01-01] [info] [api.cc:223] - f_mul, executed 2 times, duration 0.0004s, send bytes 40 recv bytes 40, send actions 2, recv actions 2
[2026-01-01] [info] [api.cc:233] Link details: total send bytes 40, recv bytes 44, send actions 2, recv actions 3
[2026-01-01] [info] [api.cc:223] - pphlo.multiply, executed 2 times, duration 0.0004s, send bytes 44 recv bytes 40, send actions 3, recv actions 2
[2026-01-01] [info] [api.cc:233] Link details: total send bytes 44, recv bytes 40, send actions 3, recv actions 2
"""  # noqa: E501


def test_a_log_of_two_parties_is_read_whatever_their_order():
    found = spu_parties.counts(LOG, 2)
    assert found["parties"] == [(44, 40, 3, 2), (40, 44, 2, 3)]
    assert found["operations"] == {"multiply": (2, 84, 5), "reduce": (1, 0, 0)}


def test_a_log_that_breaks_off_is_refused():
    with pytest.raises(ValueError, match="link details of 3 parties, got those of 2"):
        spu_parties.counts(LOG, 3)


def test_versions_are_of_what_is_installed():
    found = spu_parties.versions()
    assert found["python"] == platform.python_version() and found["numpy"] == np.__version__
    assert set(found) == {"python", "spu", "jax", "jaxlib", "numpy"}
