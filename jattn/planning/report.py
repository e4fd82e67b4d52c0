"""A plan as text and as plain data."""

from typing import Any

from jattn.planning import roofline
from jattn.planning.chips import Topology
from jattn.planning.plan import Plan

BY = {
    "compiled": "the compiler",
    "simulated": "XLA's compiler for CPU and as many simulated devices",
    "shapes": "an estimate from shapes",
}
LEFT_OUT = {
    "simulated": "products and exchanges of the model are by formula, the optimizer's own counted in its update "
    "compiled for CPU, which sends in float32 what a TPU sends in bfloat16",
    "shapes": "products and exchanges are those of the model, by formula; the optimizer's own are left out",
}


def text(plan: Plan) -> str:
    """A line each for the mesh, memory, products and time, and one for each kind of exchange and its axes."""
    where = plan.topology or "this machine"
    lines = [
        f"{plan.devices} devices of {where}: {', '.join(f'{name} {size}' for name, size in plan.mesh.items())}",
        f"each device holds {_bytes(plan.parameters)} of parameters, {_bytes(plan.buffers)} of buffers and "
        f"{_bytes(plan.optimizer)} of the optimizer",
    ]
    if plan.topology and plan.devices < (chips := Topology.of(plan.topology).count):
        lines.insert(1, f"uses {plan.devices} of {chips} chips; --mesh.data -1 takes all")
    made = ""
    if plan.temporaries is not None:
        lines.append(f"the forward pass keeps {_bytes(plan.saved)} for the gradient")
        made = f"{_bytes(plan.temporaries)} of temporaries; "
    by = BY[plan.source]
    room = "" if plan.memory is None else f" of {_bytes(plan.memory)}, which {'fits' if plan.fits else 'does not fit'}"
    lines.append(f"{made}a step needs {_bytes(plan.peak)}{room}, by {by}")
    own = plan.model_flops / plan.devices
    lines.append(f"{plan.flops / 1e9:,.2f} GFLOP of products a step, of which the model asks for {own / 1e9:,.2f}")
    sent = roofline.sent(plan.collectives)
    for (kind, axes), size in sorted(sent.items(), key=lambda item: -item[1]):
        count = sum(n for each, n in plan.collectives.items() if (each.kind, each.axes) == (kind, axes))
        lines.append(f"{kind} over {' and '.join(axes)}: {count} times, {_bytes(size)} together")
    if plan.source in LEFT_OUT:
        lines.append(LEFT_OUT[plan.source])
    if plan.times is not None:
        parts = zip(("products", "memory", "exchanges"), plan.times, strict=True)
        lines.append("roofline: " + ", ".join(f"{name} {_milliseconds(time)}" for name, time in parts))
        ways = (("overlapping", plan.times.overlapped), ("one by one", plan.times.one_by_one))
        each = (f"{_milliseconds(time)} {way}, {plan.share(time):.0%} of the chips' peak" for way, time in ways)
        lines.append(f"a step takes {'; '.join(each)}")
    return "\n".join(lines)


def record(plan: Plan) -> dict[str, Any]:
    """The same as data that JSON can hold: bytes, numbers of operations and seconds."""
    plain = ("topology", "mesh", "devices", "source", "parameters", "buffers", "optimizer", "saved", "temporaries")
    found = {name: getattr(plan, name) for name in (*plain, "peak", "memory", "fits", "flops", "model_flops")}
    found["collectives"] = [{**each._asdict(), "count": count} for each, count in plan.collectives.items()]
    if plan.times is not None:
        whole = {name: getattr(plan.times, name) for name in ("overlapped", "one_by_one")}
        found["seconds"] = plan.times._asdict() | whole
        found["share_of_peak"] = {name: plan.share(seconds) for name, seconds in whole.items()}
    return found


def _bytes(count: float) -> str:
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= size:
            return f"{count / size:,.2f} {unit}"
    return f"{count:.0f} bytes"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.3g} ms"
