"""What conversion reached as a verdict by rules that came before it, a table of the losses, and a picture.

python experiments/linear_conversion/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from jattn.training.sweeps import listed, names, reports
from jattn.training.sweeps.reports import Found, Verdict, row

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
CONVERTED = "converted"
FAVOR, HEDGEHOG, LLN = RUN.FEATURES
OPEN = Verdict(None, "not all there")
# nats per byte that an exchange of attentions costs at least before any tuning, and the share of softmax's loss that
# Hedgehog's paper leaves
HARM, SHARE = 0.1, 0.01

# the losses of an arm by what they are of, nats per byte by seed
Losses = dict[str, dict[str, Float[np.ndarray, " seeds"]]]


def conversions(found: Found) -> dict[tuple[str, int], dict[str, Any]]:
    """What `measure.py` kept, by arm and seed; the files of other runs are none."""
    held = {}
    for arm in (RUN.SOFTMAX, *RUN.FEATURES):
        for seed in RUN.SEEDS:
            file = found.home / CONVERTED / f"{arm.rstrip('+').lower()}-seed-{seed}.json"
            one = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
            if one and one["tuned"] == names.digest(RUN.tuned(seed, arm)):
                held[arm, seed] = one
    return held


def losses(found: Found) -> Losses:
    """The held-out losses that are there, in the order of the seeds."""
    held, swept = conversions(found), dict(zip(RUN.CELLS, found.held, strict=True))

    def of(arm, name):
        return np.array([held[arm, seed]["losses"][name] for seed in RUN.SEEDS if (arm, seed) in held])

    def reached(arm, steps):
        some = [swept[arm, steps, seed] for seed in RUN.SEEDS]
        return np.array([each["reached"]["heldout_loss"] for each in some if each])

    made = {RUN.SOFTMAX: {"softmax": reached(RUN.SOFTMAX, RUN.STEPS), "tuned": of(RUN.SOFTMAX, "tuned")}}
    for arm in RUN.FEATURES:
        shown = ["softmax", "converted", *(["distilled"] if RUN.DISTILL[arm] else []), "tuned"]
        made[arm] = {name: of(arm, name) for name in shown}
        made[arm]["as long"] = reached(arm, RUN.TUNING)
        made[arm]["all steps"] = reached(arm, RUN.STEPS + RUN.TUNING)
    return made


def whole(held: Losses) -> Losses:
    """Without the losses of which a seed is missing."""
    return {arm: {n: x for n, x in figures.items() if len(x) == len(RUN.SEEDS)} for arm, figures in held.items()}


def decided(rule: Callable[[Losses], Verdict], held: Losses) -> Verdict:
    """What the rule says; open where a loss that it asks for is missing."""
    try:
        return rule(whole(held))
    except KeyError:
        return OPEN


def told(*figures: Float[np.ndarray, " seeds"]) -> str:
    """Losses by seed, one beside another."""
    return " beside ".join(", ".join(f"{each:.3f}" for each in some) for some in figures)


def of_all(rule: Callable[[dict], tuple[bool, str]]) -> Callable[[Losses], Verdict]:
    """That each linear attention holds to the rule."""

    def judged(held: Losses) -> Verdict:
        found = {arm: rule(held[arm]) for arm in RUN.FEATURES}
        return Verdict(
            all(good for good, _ in found.values()), "; ".join(f"{a} {words}" for a, (_, words) in found.items())
        )

    return judged


def costs(held: dict) -> tuple[bool, str]:
    """Right after the exchange, before any step, the loss is higher from every seed."""
    return bool((held["converted"] > held["softmax"] + HARM).all()), told(held["converted"], held["softmax"])


def nearer(held: Losses) -> Verdict:
    """Right after the exchange what estimates softmax is nearer to it than what does not, from every seed."""
    figures = [held[arm]["converted"] for arm in (FAVOR, HEDGEHOG, LLN)]
    return Verdict(bool((figures[0] < np.minimum(*figures[1:])).all()), told(*figures))


def teaches(held: Losses) -> Verdict:
    """Distillation lowers the loss from every seed, with no weight of the model moved."""
    ours = held[HEDGEHOG]
    return Verdict(bool((ours["distilled"] < ours["converted"]).all()), told(ours["distilled"], ours["converted"]))


def pays(held: dict) -> tuple[bool, str]:
    """Tuned, the loss is lower than from scratch for as long, from every seed."""
    return bool((held["tuned"] < held["as long"]).all()), told(held["tuned"], held["as long"])


def keeps(held: dict) -> tuple[bool, str]:
    """Tuned, the mean loss is no higher than from scratch for all the steps."""
    return bool(held["tuned"].mean() <= held["all steps"].mean()), told(held["tuned"], held["all steps"])


def recovers(held: Losses) -> Verdict:
    """Distilled and tuned, Hedgehog's loss is within one in a hundred of softmax's tuned as long, from every seed."""
    ours, softmax = held[HEDGEHOG]["tuned"], held[RUN.SOFTMAX]["tuned"]
    return Verdict(bool((ours <= (1 + SHARE) * softmax).all()), told(ours, softmax))


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Losses], Verdict]] = {
    "1. before any step each linear attention has lost a tenth of a nat": of_all(costs),
    "2. FAVOR+ begins nearest to softmax": nearer,
    "3. distillation alone lowers Hedgehog's loss": teaches,
    "4. tuned, each is better than from scratch for as long": of_all(pays),
    "5. tuned, each is as good as from scratch for all the steps": of_all(keeps),
    "6. tuned, Hedgehog is within 1% of softmax": recovers,
}
COLUMNS = {
    "softmax": "softmax", "converted": "right after", "distilled": "distilled", "tuned": f"tuned, {RUN.TUNING} steps",
    "as long": f"scratch, {RUN.TUNING} steps", "all steps": f"scratch, {RUN.STEPS + RUN.TUNING} steps",
}  # fmt: skip


def text(found: Found) -> str:
    """Verdict, losses, what distillation reached, and machine, as Markdown."""
    held, kept = losses(found), conversions(found)
    lines = reports.judged({name: decided(rule, held) for name, rule in RULES.items()}, found.missing)
    lines += ["", "### Held-out nats per byte: mean of the seeds, deviation, and of how many where not of all", ""]
    lines += row("attention", *COLUMNS.values(), head="head")
    for arm, figures in held.items():
        lines += row(arm, *(cell(figures.get(name)) for name in COLUMNS))
    taught = [kept[HEDGEHOG, seed]["losses"]["mimicry"] for seed in RUN.SEEDS if (HEDGEHOG, seed) in kept]
    if taught:
        words = ", ".join(f"{each:.3f}" for each in taught)
        lines += ["", f"Cross entropy of a row's weights under softmax's, once distilled, in nats by seed: {words}."]
    return "\n".join([*lines, "", "### Machine", "", *reports.machines([*found.held, *kept.values()])])


def cell(some: Float[np.ndarray, " seeds"] | None) -> str:
    """Mean and deviation of the losses that are there."""
    if some is None or not len(some):
        return "–"
    told = f"{some.mean():.3f}" + (f" ({some.std(ddof=1):.3f})" if len(some) > 1 else "")
    return told if len(some) == len(RUN.SEEDS) else f"{told} of {len(some)}"


def picture(found: Found) -> Figure:
    """The losses by arm, and held-out losses of a sample against the steps of tuning."""
    figure = Figure(figsize=(14, 4), layout="constrained")
    bars, lines = figure.subplots(1, 2)
    held = losses(found)
    for number, (name, label) in enumerate(COLUMNS.items()):
        places = [(place, held[arm].get(name, ())) for place, arm in enumerate(RUN.FEATURES)]
        there = [(place + (number - 2.5) / 7, some) for place, some in places if len(some)]
        if there:
            spread = [(some.mean() - some.min(), some.max() - some.mean()) for _, some in there]
            where, means = zip(*((place, some.mean()) for place, some in there), strict=True)
            bars.bar(where, means, 1 / 7, yerr=np.array(spread).T, label=label)
    bars.set(xticks=range(len(RUN.FEATURES)), xticklabels=list(RUN.FEATURES), ylabel="held-out nats per byte")
    colors = dict(zip((RUN.SOFTMAX, *RUN.FEATURES), ("gray", "tab:blue", "tab:orange", "tab:green"), strict=True))
    for (arm, _), one in conversions(found).items():
        points = [(point["step"], point["heldout_loss"]) for point in one["points"] if "heldout_loss" in point]
        start = one["losses"].get("distilled", one["losses"].get("converted"))
        points = [(0, start), *points] if start is not None else points
        lines.plot(*zip(*points, strict=True), "o-", color=colors[arm], markersize=3, linewidth=0.8)
    for arm, color in colors.items():
        lines.plot([], [], color=color, label=arm)
    lines.set(xlabel="step of tuning", ylabel="held-out nats per byte")
    lines.legend(fontsize="small")
    if bars.containers:
        bars.legend(fontsize="x-small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
