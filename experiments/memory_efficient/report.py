"""Saved measurements and runs as tables beside the paper's, a picture, and a verdict by rules that came before them.

python experiments/memory_efficient/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import argparse
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from jattn.cli.runs import RUNS as TRAINED
from jattn.training.sweeps import listed, names, results, short

HERE = Path(__file__).parent
SMOKE = TRAINED / HERE.name / "smoke"
PICTURE = "report.png"
BEGIN, END = "<!-- report -->", "<!-- end of report -->"
KIB, MIB, GIB = 2**10, 2**20, 2**30

LENGTHS = tuple(2**n for n in range(8, 21, 2))
# of the paper's Tables 2 and 3, on a TPUv3: bytes beside inputs and outputs, None where 16 GB were too few
PAPER_BYTES: dict[tuple[str, str], tuple[float | None, ...]] = {
    ("inference", "standard"): (270 * KIB, 4 * MIB, 64 * MIB, GIB, None, None, None),
    ("inference", "memory-efficient"): (270 * KIB, 4 * MIB, 16 * MIB, 17 * MIB, 21 * MIB, 64 * MIB, 256 * MIB),
    ("differentiation", "standard"): (532 * KIB, 8 * MIB, 128 * MIB, 2 * GIB, None, None, None),
    ("differentiation", "memory-efficient"): (532 * KIB, 8 * MIB, 41 * MIB, 64 * MIB, 257 * MIB, GIB, 4 * GIB),
}
# the same tables' time of the memory-efficient form, and how much faster it is than the standard one
PAPER_MS = {
    "inference": (0.06, 0.11, 0.7, 11.3, 177, 2820, 45200),
    "differentiation": (0.1, 0.18, 1.4, 21, 336, 5300, 85000),
}
PAPER_SPEED = {
    "inference": ("±5 %", "±5 %", "−8 ± 2 %", "−13 ± 2 %", "", "", ""),
    "differentiation": ("±5 %", "±5 %", "−30 ± 5 %", "−35 ± 5 %", "", "", ""),
}
# how many times less memory, by the paper's abstract, at 2^14; and what counts as its shape on another compiler
PAPER_RATIO = {"inference": 59, "differentiation": 32}
SHAPE_RATIO = {"inference": 50, "differentiation": 25}
HEADLINE, LAST = 2**14, LENGTHS[-1]
# for two doublings; 2.1 for one leaves 5 % for tails and statistics beside the doubling itself
GROWTH = 2.1**2
# in steps and nats: what rounding does to a loss before chaos takes over, and to what a run reaches
EARLY, EARLY_APART, LATE_APART = 100, 1e-4, 0.01
# chunks of queries that the paper calls slow
SMALL = 64
SHOWN = {"standard": "`jax.nn`", "two-pass": "the paper's form", "jattn": "jattn", "pallas": "Pallas flash attention"}
COLORS = {"standard": "tab:red", "two-pass": "tab:orange", "jattn": "tab:blue", "pallas": "tab:green"}


class Found(NamedTuple):
    """The rows of each part that was measured, by its name, the results of the runs, and where a part was measured."""

    rows: dict[str, list[dict]]
    runs: list[dict]
    machines: dict[str, dict]

    def bytes(self, part: str, **match: Any) -> int | None:
        """Of the row that matches; None where there is none."""
        return next((row["bytes"] for row in self.rows.get(part, []) if _matches(row, match)), None)

    def milliseconds(self, part: str, **match: Any) -> float | None:
        """Likewise."""
        return next((row["ms"]["median"] for row in self.rows.get(part, []) if _matches(row, match)), None)


class Verdict(NamedTuple):
    """Whether a rule held, None where its figures are not there; and the figures that say so."""

    held: bool | None
    figures: str


OPEN = Verdict(None, "not measured")


def load(folder: Path, plans: list[names.Planned]) -> Found:
    """Whatever of it is there."""
    held = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    parts = {name: each for name, each in held.items() if "rows" in each}
    reached = [each for planned in plans if (each := results.read(planned.result, planned.run))]
    machines = {name: {**each["machine"], **each["versions"]} for name, each in parts.items()}
    return Found({name: each["rows"] for name, each in parts.items()}, reached, machines)


def less_memory(part: str, form: str, least: dict[str, int], found: Found) -> Verdict:
    """At n = 2^14 the form takes so many times less than the standard one; what does not compile takes too much."""
    refused = [row["why"] for row in found.rows.get(part, []) if row["form"] == form and row.get("why")]
    if refused:
        return Verdict(False, f"does not compile: {refused[0]}")
    pairs = {
        direction: [found.bytes(part, form=name, direction=direction, length=HEADLINE) for name in ("standard", form)]
        for direction in least
    }
    if any(None in pair for pair in pairs.values()):
        return OPEN
    figures = [f"{direction} {size(whole)} to {size(ours)}" for direction, (whole, ours) in pairs.items()]
    held = all(whole >= least[direction] * ours for direction, (whole, ours) in pairs.items())
    return Verdict(held, ", ".join(figures))


def linear(found: Found) -> Verdict:
    """From 2^14 on four times the length is at most 2.1² times the memory, and at 2^20 at most what the paper took."""
    grown, last = [], {}
    for direction in PAPER_RATIO:
        sizes = [found.bytes("memory", form="jattn", direction=direction, length=n) for n in LENGTHS if n >= HEADLINE]
        if None in sizes:
            return OPEN
        grown += [after / before for before, after in zip(sizes[:-1], sizes[1:], strict=True)]
        last[direction] = sizes[-1]
    published = {direction: PAPER_BYTES[direction, "memory-efficient"][-1] for direction in last}
    figures = ", ".join(f"{size(ours)} beside {size(published[direction])}" for direction, ours in last.items())
    held = max(grown) <= GROWTH and all(last[direction] <= published[direction] for direction in last)
    return Verdict(held, f"at most {max(grown):.2f} times; at 2^20 {figures}")


def exact(found: Found) -> Verdict:
    """At n = 2^14 errors are at most twice the standard form's and one spacing of float32 at the largest value."""
    rows = found.rows.get("agreement", [])
    bounds = {row["array"]: 2 * row["error"] + row["spacing"] for row in rows if row["form"] == "standard"}
    others = [row for row in rows if row["form"] != "standard"]
    if not bounds or not others:
        return OPEN
    worst = max(others, key=lambda row: row["error"] / bounds[row["array"]])
    share = worst["error"] / bounds[worst["array"]]
    return Verdict(share <= 1, f"at most {share:.2f} of the bound, in {worst['array']} of {SHOWN[worst['form']]}")


def one_query(found: Found) -> Verdict:
    """One query takes as many bytes against 2^20 keys as against 2^12."""
    sizes = [row["bytes"] for row in found.rows.get("single_query", []) if row["form"] == "jattn"]
    return Verdict(len(set(sizes)) == 1, ", ".join(map(size, sizes))) if sizes else OPEN


def same_training(found: Found) -> Verdict:
    """Losses of the two runs differ by at most 1e-4 in the first 100 steps, the held-out loss by at most 0.01."""
    if len(found.runs) != 2:
        return OPEN
    first, second = ({point["step"]: point["loss"] for point in run["points"]} for run in found.runs)
    early = max(abs(loss - second[step]) for step, loss in first.items() if step <= EARLY)
    late = abs(found.runs[0]["reached"]["heldout_loss"] - found.runs[1]["reached"]["heldout_loss"])
    return Verdict(
        early <= EARLY_APART and late <= LATE_APART, f"{early:.1e} in the first {EARLY} steps, {late:.1e} held out"
    )


def no_slower(found: Found) -> Verdict:
    """At 2^12 and 2^14, on the machine at hand, ours takes no longer than the standard form."""
    ratios = [_ratio(found, "jattn", direction, n) for direction in PAPER_RATIO for n in (HEADLINE // 4, HEADLINE)]
    return OPEN if None in ratios else Verdict(max(ratios) <= 1, ", ".join(f"{ratio:.2f}" for ratio in ratios))


def small_chunks_are_slow(found: Found) -> Verdict:
    """Queries alone in chunks of 64 or fewer take longer than both in chunks with tiles of as many elements."""
    chunks = sorted({row["chunk"] for row in found.rows.get("figure_5", []) if row["chunk"]})
    pairs = {
        chunk: [found.milliseconds("figure_5", form=form, chunk=chunk) for form in ("queries alone", "both")]
        for chunk in chunks
        if chunk <= SMALL
    }
    if not pairs:
        return OPEN
    told = ", ".join(f"{alone / both:.2f} times at {chunk}" for chunk, (alone, both) in pairs.items())
    return Verdict(all(alone > both for alone, both in pairs.values()), told)


# committed before the first measurement; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. jattn: 59 and 32 times less memory than `jax.nn` at 2^14": functools.partial(
        less_memory, "memory", "jattn", PAPER_RATIO
    ),
    "2. the paper's form: 50 and 25 times": functools.partial(less_memory, "memory", "two-pass", SHAPE_RATIO),
    "3. jattn: linear from 2^14 to 2^20, and no more than the paper's at 2^20": linear,
    "4. one query: equal bytes for 2^12, 2^16 and 2^20 keys": one_query,
    "5. all forms within the bound of float64 at 2^14, gradients too": exact,
    "6. training: the same losses with either engine": same_training,
    "7. compiled for a TPU v5e, bfloat16: rule 1": functools.partial(less_memory, "tpu_bfloat16", "jattn", PAPER_RATIO),
    "8. compiled for a TPU v5e, float32: rule 1": functools.partial(less_memory, "tpu_float32", "jattn", PAPER_RATIO),
    "9. jattn: no slower than `jax.nn` at 2^12 and 2^14": no_slower,
    "10. queries alone in chunks of 64 or fewer: slower": small_chunks_are_slow,
}
# cost what they may, the claim stands without these
COST = ("9.", "10.")


def judged(found: Found) -> dict[str, Verdict]:
    """Every rule on what is there."""
    return {name: rule(found) for name, rule in RULES.items()}


def sentence(verdicts: dict[str, Verdict]) -> str:
    """The verdict: the claim holds where all rules but those of cost held."""
    claim = {name: verdict.held for name, verdict in verdicts.items() if not name.startswith(COST)}
    failed, unknown = ([name for name, held in claim.items() if held is was] for was in (False, None))
    if failed:
        return f"The claim is not upheld here: {'; '.join(failed)}."
    return f"Not yet decided: {'; '.join(unknown)}." if unknown else "The claim is upheld here."


def text(found: Found) -> str:
    """Verdict, tables and machine, as Markdown."""
    verdicts = judged(found)
    words = {True: "held", False: "**not held**", None: "open"}
    lines = [f"**{sentence(verdicts)}**", "", *_row("rule", "", "figures", head=True)]
    lines += [line for name, (held, told) in verdicts.items() for line in _row(name, words[held], told)]
    for direction in PAPER_RATIO:
        lines += ["", f"### {direction.capitalize()}", "", *_table(found, direction)]
    lines += ["", "### Figure 5: inference in chunks, n = 2^15", "", *_chunks(found), "", "### Machine", ""]
    told = sorted({json.dumps(machine) for machine in found.machines.values()})
    return "\n".join([*lines, *(f"- {', '.join(f'{k} {v}' for k, v in json.loads(line).items())}" for line in told)])


def picture(found: Found) -> Figure:
    """Memory of both directions, time beside the standard form, and Figure 5."""
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    panels = figure.subplots(2, 2).flat
    for axes, direction in zip(panels, PAPER_RATIO, strict=False):
        for part, style, where in (("memory", "o-", "CPU, float32"), ("tpu_bfloat16", "s:", "v5e, bfloat16")):
            for form in SHOWN:
                points = [
                    (row["length"], row["bytes"])
                    for row in found.rows.get(part, [])
                    if _matches(row, {"form": form, "direction": direction}) and row["bytes"]
                ]
                if points:
                    label = f"{SHOWN[form].strip('`')}, {where}"
                    axes.loglog(*zip(*points, strict=True), style, color=COLORS[form], label=label, base=2)
        for form, mark in (("standard", "^"), ("memory-efficient", "v")):
            points = [
                point for point in zip(LENGTHS, PAPER_BYTES[direction, form], strict=True) if point[1] is not None
            ]
            axes.loglog(*zip(*points, strict=True), mark, color="gray", label=f"paper, {form}, TPUv3", base=2)
        axes.set(title=f"{direction}: temporaries", xlabel="n (tokens)")
        axes.set_yticks([KIB * 2**n for n in range(4, 33, 4)], [size(KIB * 2**n) for n in range(4, 33, 4)])
    for direction, style in zip(PAPER_RATIO, ("o-", "s--"), strict=True):
        for form in ("two-pass", "jattn"):
            points = [
                (row["length"], ratio)
                for row in found.rows.get("times", [])
                if _matches(row, {"form": form, "direction": direction})
                and (ratio := _ratio(found, form, direction, row["length"]))
            ]
            if points:
                label = f"{SHOWN[form]}, {direction}"
                panels[2].plot(*zip(*points, strict=True), style, color=COLORS[form], label=label)
    panels[2].axhline(1, color=COLORS["standard"], linewidth=1)
    panels[2].set(title="time as a ratio to jax.nn, CPU", xlabel="n (tokens)", ylim=(0, None))
    panels[2].set_xscale("log", base=2)
    for form, style in (("queries alone", "s--"), ("both", "o-")):
        points = [
            (row["bytes"], row["ms"]["median"] / 1e3) for row in found.rows.get("figure_5", []) if row["form"] == form
        ]
        if points:
            panels[3].plot(
                *zip(*sorted(points), strict=True), style, color=COLORS["two-pass"], label=f"{form} in chunks"
            )
    for row in found.rows.get("figure_5", []):
        if row["chunk"] is None:
            at = (row["bytes"], row["ms"]["median"] / 1e3)
            panels[3].plot(*at, "D", color=COLORS[row["form"]], label=SHOWN[row["form"]].strip("`"))
    panels[3].set(title="Figure 5: time against memory, n = 2^15, CPU", xlabel="temporaries", ylabel="seconds")
    panels[3].set_xscale("log", base=2)
    panels[3].set_xticks([KIB * 2**n for n in range(8, 25, 4)], [size(KIB * 2**n) for n in range(8, 25, 4)])
    panels[3].set_ylim(bottom=0)
    for axes in panels:
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="x-small")
    return figure


def size(count: float | None) -> str:
    """Bytes in the largest unit that leaves at least one."""
    if count is None:
        return "–"
    unit = next(((n, name) for n, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")) if count >= n), (1, "B"))
    return f"{count / unit[0]:.3g} {unit[1]}" if count < 1000 * GIB else f"{count / GIB:.0f} GiB"


def _table(found: Found, direction: str) -> list[str]:
    columns = [f"2^{n.bit_length() - 1}" for n in LENGTHS]
    lines = _row("", *columns, head=True)
    for form in ("standard", "memory-efficient"):
        sizes = [size(held) if held else "OOM" for held in PAPER_BYTES[direction, form]]
        lines += _row(f"paper, {form}, TPUv3", *sizes)
    for part, where in (("memory", "CPU, float32"), ("tpu_bfloat16", "v5e, bfloat16"), ("tpu_float32", "v5e, float32")):
        for form in dict.fromkeys(row["form"] for row in found.rows.get(part, [])):
            sizes = [_size(found, part, **_key(form, direction, n)) for n in LENGTHS]
            lines += _row(f"{SHOWN[form]}, {where}", *sizes)
    lines += _row("paper, time, ms", *(f"{ms:g}" for ms in PAPER_MS[direction]))
    lines += _row("paper, faster than the standard form", *PAPER_SPEED[direction])
    for form in ("standard", "two-pass", "jattn"):
        cells = []
        for n in LENGTHS:
            taken, ratio = found.milliseconds("times", **_key(form, direction, n)), _ratio(found, form, direction, n)
            times = "" if ratio is None or form == "standard" else f" ({ratio:.2f} ×)"
            cells.append("–" if taken is None else f"{taken:.3g}{times}")
        lines += _row(f"{SHOWN[form]}, CPU, ms (ratio to `jax.nn`)", *cells)
    return lines


def _size(found: Found, part: str, **match: Any) -> str:
    refused = any(row.get("why") for row in found.rows[part] if _matches(row, match))
    return "OOM" if refused else size(found.bytes(part, **match))


def _chunks(found: Found) -> list[str]:
    lines = _row("form", "query chunk", "seconds", "temporaries", head=True)
    for row in found.rows.get("figure_5", []):
        form = SHOWN.get(row["form"], f"{row['form']} in chunks")
        lines += _row(form, str(row["chunk"] or ""), f"{row['ms']['median'] / 1e3:.3g}", size(row["bytes"]))
    return lines


def _row(*cells: str, head: int = 0) -> list[str]:
    line = f"| {' | '.join(cells)} |"
    return [line, f"|{'---|' * len(cells)}"] if head else [line]


def _ratio(found: Found, form: str, direction: str, length: int) -> float | None:
    ours, peer = (found.milliseconds("times", **_key(name, direction, length)) for name in (form, "standard"))
    return None if ours is None or peer is None else ours / peer


def _key(form: str, direction: str, length: int) -> dict[str, Any]:
    return {"form": form, "direction": direction, "length": length}


def _matches(row: dict, match: dict[str, Any]) -> bool:
    return all(row.get(name) == value for name, value in match.items())


def main(words: list[str]) -> int:
    """Prints the report, and renews picture and README.md; of tiny runs it prints, and draws beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="reports on what --smoke of the others left")
    chosen = parser.parse_args(words)
    home = SMOKE / "results" if chosen.smoke else HERE / "results"
    plans = names.planned(listed.runs(HERE / "run.py"), SMOKE, home)
    if chosen.smoke:
        plans = [planned._replace(run=short.shortened(planned.run)) for planned in plans]
    found = load(home, plans)
    told = text(found)
    if chosen.smoke:
        print("Of tiny sizes, which the rules are not about; it shows only that everything runs.\n")
    print(told)
    picture(found).savefig((SMOKE if chosen.smoke else HERE) / PICTURE, dpi=100)
    if not chosen.smoke:
        page = (HERE / "README.md").read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        (HERE / "README.md").write_text(f"{before}{BEGIN}\n\n{told}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
