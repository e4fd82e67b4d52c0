"""What a plan says, in words and as data."""

import dataclasses
import json

from jattn.planning import plan, report
from jattn.training.presets import preset
from jattn.training.sharding import Mesh

MADE = plan.estimate(preset("billion"), "v5e:16x16", Mesh(1, 16, 4, 4))


def test_text_tells_memory_exchanges_and_time():
    text = report.text(MADE)
    assert text.startswith("256 devices of v5e:16x16: data 1, fsdp 16, tensor 4, context 4\n")
    assert "each device holds 62.29 MiB of parameters, 0 bytes of buffers and 124.58 MiB of the optimizer" in text
    assert "of 16.00 GiB, which fits, by an estimate from shapes" in text and "all-gather over fsdp: 38 times" in text
    assert "roofline: products" in text and "of the chips' peak; " in text
    huge = dataclasses.replace(MADE, source="simulated", peak=2**40, temporaries=2**39, saved=2**38)
    told = report.text(huge)
    assert "keeps 256.00 GiB for the gradient\n" in told and "by XLA's compiler for CPU and as many" in told
    assert "512.00 GiB of temporaries; a step needs 1,024.00 GiB of 16.00 GiB, which does not fit" in told
    assert "the optimizer's own counted in its update" in told and "are left out" in text


def test_chips_that_a_mesh_leaves_unused_are_told():
    few = plan.estimate(preset("billion"), "v5e:2x4", Mesh(1, 2))
    assert "\nuses 2 of 8 chips; --mesh.data -1 takes all\n" in report.text(few)
    assert "chips; --mesh" not in report.text(MADE)


def test_data_are_json():
    found = json.loads(json.dumps(report.record(MADE)))
    assert found["devices"] == 256 and found["fits"] and found["source"] == "shapes"
    assert found["seconds"]["one_by_one"] == sum(found["seconds"][name] for name in plan.roofline.Times._fields)
    assert {"kind": "all-gather", "axes": ["fsdp"], "devices": 16} == {
        name: found["collectives"][0][name] for name in ("kind", "axes", "devices")
    }
    alone = dataclasses.replace(MADE, topology=None, times=None, memory=None)
    assert "seconds" not in report.record(alone) and "roofline" not in report.text(alone)
