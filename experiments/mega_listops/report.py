"""Results of the sweep as a verdict by rules that came before it, a table of the grid, and a picture.

python experiments/mega_listops/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import functools
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jattn.training.data import listops
from jattn.training.sweeps import listed, reports
from jattn.training.sweeps.reports import Found, Verdict, accuracy, row

HERE = Path(__file__).parent
RUN = listed.executed(HERE / "run.py")
TRANSFORMER, MEGA, CHUNK, S4D, PERFORMER = RUN.MODELS
# shares of the held-out expressions
SUPPORTS, AHEAD, MATCH = 0.10, 0.05, 0.05
# expressions to train on that say which value is the commonest
COUNTED = 10_000
OPEN = Verdict(None, "not all there")


def own(tokens: Sequence[int]) -> tuple[int, ...]:
    """The outermost operator and, rising, the values that are its own: lists inside are passed over."""
    level, found = 0, []
    for token in tokens:
        level += (listops.OPERATOR <= token < listops.END) - (token == listops.END)
        if level == 1 and token < listops.OPERATOR:
            found.append(token)
    return tokens[0], *sorted(found)


def one_level(tokens: Sequence[int]) -> Hashable:
    """The outermost operator and what it makes of its own values, None where it has none."""
    operator, *values = own(tokens)
    values = [token - listops.VALUE for token in values]
    return operator, listops.WORTH[operator - listops.OPERATOR](values) if values else None


# what each knows of an expression of which it names the commonest value
BASELINES: dict[str, Callable[[Sequence[int]], Hashable]] = {
    "commonest value": lambda tokens: None,
    "of those with the same first operator": lambda tokens: tokens[0],
    "of those worth as much without the lists inside": one_level,
}
MAJORITY, OPERATOR, LEVEL = BASELINES


@functools.cache
def baselines() -> dict[str, float]:
    """The share of the held-out expressions of which a baseline names the value, by what is trained on."""
    examples = RUN.SOURCE.train(RUN.CONTEXT, RUN.SEEDS[0])
    drawn = [read(examples[number]) for number in range(COUNTED)]
    test = RUN.SOURCE.held_out(RUN.CONTEXT)
    asked = [read(test[number]) for number in range(len(test))]
    found = {}
    for name, known in BASELINES.items():
        counts: dict[Hashable, Counter] = defaultdict(Counter)
        for tokens, label in drawn:
            counts[known(tokens)][label] += 1
        named = {key: max(each, key=each.get) for key, each in counts.items()}
        found[name] = sum(named.get(known(tokens)) == label for tokens, label in asked) / len(asked)
    return found


def read(example: dict[str, Any]) -> tuple[list[int], int]:
    """An expression's tokens and value."""
    return example["inputs"][: example["valid"]].tolist(), int(example["label"])


def shares(found: Found, arm: str, rate: float) -> list[float]:
    """The shares of a cell of the grid by seed, of the runs that are there."""
    cells = dict(zip(RUN.CELLS, found.held, strict=True))
    held = [cells[arm, rate, seed] for seed in RUN.SEEDS]
    return [accuracy(each) for each in held if each]


def best(found: Found, arm: str) -> float:
    """The mean share of the seeds at the rate where it is largest."""
    return max(sum(each) / len(each) for rate in RUN.RATES if (each := shares(found, arm, rate)))


def supports(found: Found) -> Verdict:
    """Some model tells more than who knows only what is commonest."""
    model = max(RUN.MODELS, key=lambda arm: best(found, arm))
    share, known = best(found, model), baselines()
    held = share >= max(known[MAJORITY], known[OPERATOR]) + SUPPORTS
    return Verdict(held, f"{model} {share:.1%}; {known[MAJORITY]:.1%}, {known[OPERATOR]:.1%}")


def ahead(one: str, other: str, least: float) -> Callable[[Found], Verdict]:
    """Whether a model tells so much more than another."""

    def rule(found: Found) -> Verdict:
        ours, others = (best(found, arm) for arm in (one, other))
        return Verdict(ours >= others + least, f"{one} {ours:.1%}, {other} {others:.1%}")

    return rule


# committed before the first run; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. some model is 10 points above both baselines": supports,
    "2. Mega is at least 5 points above the Transformer": ahead(MEGA, TRANSFORMER, AHEAD),
    "3. Mega-chunk is at least 5 points above the Transformer": ahead(CHUNK, TRANSFORMER, AHEAD),
    "4. Mega-chunk is at most 5 points below Mega": ahead(CHUNK, MEGA, -MATCH),
    "5. Mega is above S4D": ahead(MEGA, S4D, 0),
    "6. Performer is at least 5 points below the Transformer": ahead(TRANSFORMER, PERFORMER, AHEAD),
}


def judge(found: Found) -> dict[str, Verdict]:
    """Every rule's verdict; where the first one fails, models have learned too little for the others to be judged."""
    if found.missing:
        return dict.fromkeys(RULES, OPEN)
    verdicts = {name: rule(found) for name, rule in RULES.items()}
    first, *others = RULES
    if not verdicts[first].held:
        verdicts |= {name: Verdict(None, verdicts[name].figures) for name in others}
    return verdicts


def text(found: Found) -> str:
    """Verdict, baselines, the grid and machine, as Markdown."""
    lines = [*reports.judged(judge(found), found.missing), "", "### Told by naming the commonest value", ""]
    lines += row("what is named", "right", head="head")
    for name, share in baselines().items():
        lines += row(name, f"{share:.1%}")
    lines += ["", "### Held-out expressions told, by seed", ""]
    lines += row("model", *(f"rate {rate:g}" for rate in RUN.RATES), head="head")
    for arm in RUN.MODELS:
        grid = [shares(found, arm, rate) for rate in RUN.RATES]
        lines += row(arm, *(", ".join(f"{each:.1%}" for each in cell) or "–" for cell in grid))
    return "\n".join([*lines, "", "### Machine", "", *reports.machines(found.held)])


def picture(found: Found) -> Figure:
    """Shares of held-out expressions against the step, and at the end by model, beside the baselines."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    curves, dots = figure.subplots(1, 2, sharey=True)
    colors = dict(zip(RUN.MODELS, ("black", "tab:blue", "tab:green", "tab:red", "tab:orange"), strict=True))
    cells = {cell: held for cell, held in zip(RUN.CELLS, found.held, strict=True) if held}
    styles = dict(zip(RUN.RATES, (("-", "o"), ("--", "s")), strict=True))
    for (arm, rate, _), held in cells.items():
        points = [(each["step"], each["heldout_accuracy"]) for each in held["points"] if "heldout_accuracy" in each]
        style, mark = styles[rate]
        if points:
            curves.plot(*zip(*points, strict=True), style, marker=mark, markersize=3, color=colors[arm])
            dots.plot(list(RUN.MODELS).index(arm), accuracy(held), mark, color=colors[arm])
    for arm, color in colors.items():
        curves.plot([], [], color=color, label=arm)
    for rate, (style, mark) in styles.items():
        curves.plot([], [], style, marker=mark, color="gray", label=f"rate {rate:g}")
        dots.plot([], [], mark, color="gray", label=f"rate {rate:g}")
    for share, style, name in zip(baselines().values(), (":", "-.", "--"), BASELINES, strict=True):
        dots.axhline(share, linestyle=style, color="gray", linewidth=1, label=name)
    curves.set(xlabel="step", ylabel="held-out expressions told", ylim=(0, None))
    dots.set(xticks=range(len(RUN.MODELS)), xticklabels=list(RUN.MODELS))
    curves.legend(fontsize="small")
    figure.legend(*dots.get_legend_handles_labels(), loc="outside lower right", ncols=5, fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(reports.main(sys.argv[1:], HERE, text, picture))
