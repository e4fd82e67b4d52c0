"""`jattn plan`."""

import json

from jattn import cli
from jattn.cli import plan as command
from jattn.planning import fit
from jattn.planning import plan as planning
from jattn.training.presets import preset


def test_chips_without_their_compiler_are_planned_on_paper(tmp_path, capsys):
    file = tmp_path / "plan.json"
    options = "plan --preset billion --topology v5p:4x4x4 --mesh.fsdp 16 --mesh.tensor 4 --paper --json".split()
    assert cli.main([*options, str(file)]) == 0
    shown, held = capsys.readouterr().out, json.loads(file.read_text(encoding="utf-8"))
    assert "the optimizer's own are left out" in shown
    assert shown.startswith("64 devices of v5p:4x4x4: data 1, fsdp 16, tensor 4, context 1\n")
    assert held["mesh"] == {"data": 1, "fsdp": 16, "tensor": 4, "context": 1} and held["source"] == "shapes"
    assert held["memory"] == 95 * 2**30


def test_a_mesh_is_chosen(capsys):
    assert cli.main("plan --preset tiny --topology h100:2 --choose --paper".split()) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    words = first.removeprefix("the fastest that fits, by the roofline: ").split()
    sizes = dict(zip((word.removeprefix("--mesh.") for word in words[::2]), words[1::2], strict=True))
    assert second == f"2 devices of h100:2: {', '.join(f'{name} {size}' for name, size in sizes.items())}"


def test_devices_are_simulated_without_chips(monkeypatch, capsys):
    found = []
    made = planning.estimate(preset("smoke"), "h100:1")
    # no other number of devices can be had once a computation has begun, as in these tests
    monkeypatch.setattr(command, "_simulate", found.append)
    monkeypatch.setattr(planning, "plan", lambda run, topology: found.append(topology) or made)
    assert cli.main("plan --preset smoke --devices 4".split()) == 0
    assert found == [4, None] and capsys.readouterr().out.startswith("1 devices of h100:1")


def test_four_devices_are_simulated_to_fit(monkeypatch, capsys):
    found = []
    made = planning.estimate(preset("smoke"), "h100:1")
    monkeypatch.setattr(command, "_simulate", found.append)
    monkeypatch.setattr(fit, "fit", lambda run, topology: found.append(topology) or made)
    assert cli.main("plan --preset smoke --topology h100:1 --fit".split()) == 0
    assert found == [4, "h100:1"] and capsys.readouterr().out.startswith("1 devices of h100:1")


def test_bad_input_is_one_sentence(refused):
    assert refused("plan", "--choose") == (
        2, "--choose, --paper and --fit need the chips, got no --topology; add one such as v5e:16x16.\n",
    )  # fmt: skip
    for options, words in (
        (("--topology", "v6:2x2"), "A topology names a chip and a shape, as v5e:16x16, got 'v6:2x2'"),
        (("--devices", "0"), "--devices must be at least 1, got 0"),
        (("--topology", "v5e:2x2", "--devices", "4"), "got 4 beside --topology v5e:2x2; leave one out"),
        (("--topology", "v5e:2x2", "--paper", "--mesh.fsdp", "3"), "divides the 4 devices"),
        (("--topology", "v5e:2x2", "--paper", "--depth", "3"), "jattn plan has no option --depth"),
        (("--topology", "v5e:2x2", "--paper", "--json", "nowhere/plan.json"), "--json must name a file that can be"),
        (("--topology", "v5e:2x2", "--paper", "--fit"), "--paper compiles nothing and --fit does, got both"),
    ):
        code, sentence = refused("plan", *options)
        assert code == 2 and words in sentence, sentence
