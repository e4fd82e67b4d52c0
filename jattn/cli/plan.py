"""`jattn plan`."""

import dataclasses
import json
from pathlib import Path

from jattn.cli import runs


@dataclasses.dataclass(frozen=True)
class Plan:
    """Says what a run's step takes on devices that are not here; --choose finds the mesh, --paper compiles nothing.

    --topology names chips to compile for, as v5e:16x16, v5p:4x4x4 or h100:8; without it --devices are simulated on CPU.
    Without the chips' compiler, --fit compiles for meshes of up to four simulated devices and goes on from there.
    """

    topology: str | None = None
    devices: int = 8
    preset: str | None = None
    json: str | None = None

    def __post_init__(self):
        if self.devices < 1:
            raise ValueError(f"--devices must be at least 1, got {self.devices}; it counts those to simulate.")


def command(held: Plan, found: dict, asks: bool) -> int:
    """Prints the plan, and writes it to a file where one is named."""
    from jattn.cli import options

    choose, paper, fits = (options.bare(found, name) for name in ("choose", "paper", "fit"))
    own = {field.name for field in dataclasses.fields(held)}
    chosen = options.build(held, {name: words for name, words in found.items() if name in own})
    if chosen.topology and "devices" in found:
        raise ValueError(
            f"--devices are simulated where no chips are named, got {chosen.devices} beside --topology "
            f"{chosen.topology}; leave one out."
        )
    if (choose or paper or fits) and not chosen.topology:
        raise ValueError("--choose, --paper and --fit need the chips, got no --topology; add one such as v5e:16x16.")
    if paper and fits:
        raise ValueError("--paper compiles nothing and --fit does, got both; leave one out.")
    from jattn.planning import fit, plan, report
    from jattn.training.presets import preset

    fields = {name: words for name, words in found.items() if name not in own}
    run = options.build(preset(chosen.preset or "default"), fields)
    if asks:
        print(options.page("plan", held.__doc__, (chosen, run)), end="")
        return 0
    options.refuse_unknown(found, (chosen, run), "plan")
    if chosen.json:
        runs.check_writable("--json", Path(chosen.json))
    if fits or not chosen.topology:
        _simulate(fit.MOST if fits else chosen.devices)
    made = None
    if choose:
        made = plan.choose(run, chosen.topology)
        run = dataclasses.replace(run, mesh=plan.Mesh(**made.mesh))
        words = " ".join(f"--mesh.{name} {size}" for name, size in made.mesh.items())
        print(f"the fastest that fits, by the roofline: {words}")
    if fits:
        made = fit.fit(run, chosen.topology)
    elif not paper:
        made = plan.plan(run, topology=chosen.topology)
    elif made is None:
        made = plan.estimate(run, chosen.topology)
    print(report.text(made))
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(report.record(made), indent=2) + "\n", encoding="utf-8")
    return 0


def _simulate(devices: int) -> None:
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
