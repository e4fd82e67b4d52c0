"""What small meshes tell of large ones: exact for sums of shares, near for compiled steps."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from jattn.models.decoder import DecoderConfig
from jattn.planning import fit, plan
from jattn.training.run import Run
from jattn.training.sharding import Mesh

AXES = ("data", "fsdp", "tensor", "context")
RUN = Run(model=DecoderConfig(width=32, depth=1, heads=8), batch=16, context=64, mesh=Mesh(1, 2, 2, 2))


def sizes(*numbers):
    return dict(zip(AXES, numbers, strict=True))


def test_small_meshes_have_at_most_four_devices_on_the_axes_of_the_large_one():
    found = [tuple(each.values()) for each in fit.small(sizes(1, 16, 2, 1))]
    assert found == [(1, 1, 1, 1), (1, 1, 2, 1), (1, 2, 1, 1), (1, 2, 2, 1), (1, 4, 1, 1)]
    assert len(fit.small(sizes(2, 2, 2, 2))) == 1 + 4 + 6


@pytest.mark.parametrize("large", [(8, 1, 1, 1), (1, 2, 2, 2), (4, 8, 8, 16)])
def test_sums_of_shares_are_found_exactly(large):
    held = np.array([1e4, 3e7, 1e6, 2e6, 5e6, 1e5])
    meshes = fit.small(sizes(*large))
    measured = [round(float(held @ fit.shares(each))) for each in meshes]
    want = held @ fit.shares(sizes(*large))
    assert fit.predicted(meshes, measured, sizes(*large)) == pytest.approx(want, rel=1e-4)


def test_a_fit_needs_four_devices():
    with pytest.raises(
        ValueError, match="compiles for up to 4 devices of this machine, got 1; set jax_num_cpu_devices"
    ):
        fit.fit(Run(), "h100:8")


# of the steps below with BLOCKS, by mesh: what is saved, with the head's weights, and temporaries
COMPILED = {
    (1, 1, 1, 1): (22899764, 134893088),
    (1, 1, 1, 2): (12375012, 81752624),
    (1, 1, 1, 4): (7114724, 33402224),
    (1, 1, 1, 8): (4484580, 17392432),
    (1, 1, 2, 1): (17783780, 93851336),
    (1, 1, 2, 2): (9360356, 48260136),
    (1, 1, 4, 1): (15227876, 73273032),
    (1, 1, 8, 1): (13949924, 63033032),
    (1, 2, 1, 1): (11449316, 63524744),
    (1, 2, 1, 2): (6189028, 42652536),
    (1, 2, 1, 4): (3558884, 18474680),
    (1, 2, 2, 1): (8893412, 36016392),
    (1, 2, 2, 2): (4681700, 21865960),
    (1, 2, 4, 1): (7615460, 27480328),
    (1, 4, 1, 1): (5726180, 32944008),
    (1, 4, 2, 1): (4448228, 18600200),
    (1, 8, 1, 1): (2864612, 17653640),
    (2, 1, 1, 1): (12366820, 63262256),
    (2, 1, 2, 1): (9352164, 42135624),
    (2, 2, 1, 1): (6184932, 32944008),
    (2, 2, 2, 1): (4677604, 18600328),
}


# heads over four devices and weights over two: 21 % more is told than compiled
MISSED = pytest.param((1, 2, 4, 1), marks=pytest.mark.xfail(strict=True))
EIGHT = [mesh for mesh in COMPILED if np.prod(mesh) == 8 and mesh not in MISSED.values]


@pytest.mark.parametrize("large", [*EIGHT, MISSED], ids=str)
def test_what_is_saved_is_told_to_a_thousandth_and_temporaries_to_15_percent(large):
    meshes = fit.small(sizes(*large))
    for number, most in enumerate((1e-3, 0.15)):
        measured = [COMPILED[tuple(each.values())][number] for each in meshes]
        assert fit.predicted(meshes, measured, sizes(*large)) == pytest.approx(COMPILED[large][number], rel=most)


def test_a_fit_compiles_for_the_small_meshes_alone(monkeypatch):
    made = plan.estimate(RUN, "h100:8")

    def planned(run, mesh):
        saved, temporaries = COMPILED[tuple(mesh.sizes().values())]
        return dataclasses.replace(made, saved=saved, temporaries=temporaries)

    monkeypatch.setattr(plan, "plan", planned)
    monkeypatch.setattr(jax, "devices", lambda: [None] * 4)
    found = fit.fit(RUN, "h100:8")
    assert found.source == "fitted" and not found.compiled
    assert found.saved == pytest.approx(COMPILED[1, 2, 2, 2][0], rel=1e-3)
    assert found.peak == made.parameters + made.optimizer + found.temporaries
    assert found.collectives == made.collectives and found.flops == made.flops


# of a step on eight devices: what is fitted from up to four, and what is compiled
FITTED = """
import chex
chex.set_n_cpu_devices(8)
import json, sys
import jattn
from jattn.models.decoder import DecoderConfig
from jattn.planning import fit, plan
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.sharding import Mesh

sizes, options, model = json.loads(sys.argv[1])
model = DecoderConfig(**model, attention=jattn.Attention(mask=jattn.masks.Causal(), position=jattn.positions.Rotary()))
run = Run(model=model, optimizer=AdamW(), mesh=Mesh(*sizes), **options)
made = plan.plan(run)
guessed = fit.fit(run, "h100:8")
names = "saved", "temporaries", "peak", "flops"
print(json.dumps([[getattr(each, name) for name in names] for each in (made, guessed)]))
"""
SMALL = {"batch": 16, "context": 64}, {"width": 32, "depth": 1, "heads": 8}
BLOCKS = {"batch": 16, "context": 256, "remat": "block"}, {"width": 128, "depth": 2, "heads": 8, "vocabulary": 512}
WHOLE = {"batch": 8, "context": 512}, {"width": 256, "depth": 3, "heads": 8, "vocabulary": 1024}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "run"),
    [
        ((1, 1, 1, 8), SMALL),
        ((8, 1, 1, 1), BLOCKS),
        ((1, 2, 2, 2), BLOCKS),
        ((1, 8, 1, 1), WHOLE),
        ((2, 2, 2, 1), WHOLE),
    ],
    ids=str,
)
def test_eight_devices_are_told_by_four(mesh, run):
    command = [sys.executable, "-c", FITTED, json.dumps([mesh, *run])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    made, guessed = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(guessed, made, rtol=0.15)
