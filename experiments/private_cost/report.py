"""Saved measurements and runs as tables beside the paper's, a picture, and a verdict by rules that came before them.

python experiments/private_cost/report.py [--smoke]: renews report.png and the part of README.md between its marks.
"""

import argparse
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from side_by_side import ORDER, OUTER, PAPER, TABLES, Found, load, megabytes, ratio, row, together

from jattn.cli.runs import RUNS as TRAINED

HERE = Path(__file__).parent
SMOKE = TRAINED / HERE.name / "smoke"
PICTURE = "report.png"
BEGIN, END = "<!-- report -->", "<!-- end of report -->"

# of the paper's model, 25.32 GB to 6.43; half of it would still be the paper's claim
SAVED = 2.0
# of what is saved, the least part that GELU's replacement brings; the paper's 15.88 GB of 18.89 are 84 %
BY_ACTIVATION = 0.5
# how much more a block with temperatures may send than the one without, to which the paper gives the same number
TEMPERED = 1.05
# Cheetah's ciphertexts are compressed, which takes more or less by chance
CHEETAH_APART = 0.01
# in nats a byte, and of the largest logit
NATS_APART, LOGIT_APART = 0.01, 0.05


class Verdict(NamedTuple):
    """Whether a rule held, None where its figures are not there; and the figures that say so."""

    held: bool | None
    figures: str


OPEN = Verdict(None, "not measured")


def ordered(part: str, protocols: tuple[str, ...], denominators: tuple[str, ...], found: Found) -> Verdict:
    """Blocks send less in the paper's order, each strictly."""
    told, held = [], True
    for protocol in protocols:
        for denominator in denominators:
            sizes = found.series(part, ORDER, protocol, denominator)
            if sizes is None:
                return OPEN
            held &= all(more > less for more, less in zip(sizes[:-1], sizes[1:], strict=True))
            told.append(f"{protocol}, {denominator}: {' > '.join(map(megabytes, sizes))} MB")
    return Verdict(held, "; ".join(told))


def saved(found: Found) -> Verdict:
    """SM+LN+G sends at least SAVED times what SM+ScFuFFN does, at the paper's shape."""
    told, held = [], True
    for protocol in OUTER:
        sizes = found.series("paper_blocks", ORDER, protocol)
        if sizes is None:
            return OPEN
        held &= sizes[0] >= SAVED * sizes[-1]
        told.append(f"{protocol} {sizes[0] / sizes[-1]:.2f} times")
    return Verdict(held, f"{', '.join(told)}; the paper's model {ratio('SM+ScFuFFN')} times")


def by_activation(found: Found) -> Verdict:
    """Of the bytes that are saved, at least BY_ACTIVATION come from a ReLU in GELU's place."""
    told, held = [], True
    for protocol in OUTER:
        sizes = found.series("paper_blocks", ORDER, protocol)
        if sizes is None:
            return OPEN
        part = (sizes[0] - sizes[1]) / (sizes[0] - sizes[-1])
        held &= part >= BY_ACTIVATION
        told.append(f"{protocol} {part:.0%}")
    return Verdict(held, f"{', '.join(told)}; the paper's model 84%")


def tempered(found: Found) -> Verdict:
    """Temperatures add at most 5 % of bytes."""
    told, held = [], True
    for protocol in OUTER:
        sizes = found.series("paper_blocks", ("SM(t)+ScFuFFN", "SM+ScFuFFN"), protocol)
        if sizes is None:
            return OPEN
        held &= sizes[0] <= TEMPERED * sizes[1]
        told.append(f"{protocol} {sizes[0] / sizes[1]:.3f} times")
    return Verdict(held, ", ".join(told))


def repeated(found: Found) -> Verdict:
    """All runs of a subject sent alike: by party, for three parties together, for Cheetah but for compression."""
    rows = [each for part in found.rows.values() for each in part if "runs" in each]
    if not rows or any(len(each["runs"]) < 2 for each in rows):
        return OPEN
    differing = [each for each in rows if not alike(each)]
    names = ", ".join(f"{each['name']} under {each['protocol']}" for each in differing)
    return Verdict(not differing, f"{len(rows)} subjects" + (f", not {names}" if names else ""))


def alike(measured: dict) -> bool:
    """Whether the runs of a subject sent the same, as far as its protocol leaves nothing to chance."""
    first, *others = measured["runs"]
    if measured["protocol"] == "semi2k":
        return all(other == first for other in others)
    totals = [together(run) for run in measured["runs"]]
    apart = CHEETAH_APART * totals[0].bytes if measured["protocol"] == "cheetah" else 0
    return all(each.messages == totals[0].messages and abs(each.bytes - totals[0].bytes) <= apart for each in totals)


def computes_the_same(found: Found) -> Verdict:
    """Trained decoders cost as much a byte in fixed point as in float32, and their logits are close."""
    rows = found.rows.get("trained", [])
    if len(rows) < 2:
        return OPEN
    told, held = [], True
    for each in rows:
        apart = abs(each["fixed_point_nats"] - each["nats"])
        held &= apart <= NATS_APART and each["error"] <= LOGIT_APART * each["logits"]
        told.append(f"{each['name']}: {apart:.1e} nats, logits off by {each['error']:g} of {each['logits']:g}")
    return Verdict(held, "; ".join(told))


# committed before the first measurement; a rule that was not held stays and is told
RULES: dict[str, Callable[[Found], Verdict]] = {
    "1. the paper's order of bytes, at its shape": functools.partial(ordered, "paper_blocks", OUTER, ("once",)),
    "2. the same where each weight is divided": functools.partial(ordered, "paper_blocks", ("semi2k",), ("broadcast",)),
    "3. the same at 24 tokens, width 48, 3 heads": functools.partial(ordered, "blocks", OUTER, ("once", "broadcast")),
    "4. SM+ScFuFFN sends at most half of SM+LN+G": saved,
    "5. most of it is saved by ReLU for GELU": by_activation,
    "6. temperatures add at most 5 %": tempered,
    "7. two runs send the same": repeated,
    "8. trained decoders compute the same in fixed point": computes_the_same,
}


def judged(found: Found) -> dict[str, Verdict]:
    """Every rule on what is there."""
    return {name: rule(found) for name, rule in RULES.items()}


def sentence(verdicts: dict[str, Verdict]) -> str:
    """The verdict: the claim holds where all rules held."""
    failed, unknown = ([name for name, one in verdicts.items() if one.held is was] for was in (False, None))
    if failed:
        return f"The claim is not upheld here: {'; '.join(failed)}."
    return f"Not yet decided: {'; '.join(unknown)}." if unknown else "The claim is upheld here."


def text(found: Found) -> str:
    """Verdict, tables, and versions, as Markdown."""
    verdicts = judged(found)
    words = {True: "held", False: "**not held**", None: "open"}
    lines = [f"**{sentence(verdicts)}**", "", *row("rule", "", "figures", head=True)]
    lines += [line for name, (held, told) in verdicts.items() for line in row(name, words[held], told)]
    for title, table in TABLES.items():
        if told := table(found):
            lines += ["", f"### {title}", "", *told]
    versions = sorted({json.dumps(head) for head in found.heads.values()})
    return "\n".join([*lines, "", "### Machine and versions", "", *(f"- {_flat(json.loads(one))}" for one in versions)])


def picture(found: Found) -> Figure:
    """Bytes by operation of the blocks at the paper's shape, the paper's beside them, messages, and small blocks."""
    figure = Figure(figsize=(12, 8.5), layout="constrained")
    panels = figure.subplots(2, 2).flat
    measured = found.all("paper_blocks", denominator="once")
    # one color an operation in both panels
    kinds = list(dict.fromkeys(kind for each in measured for kind in list(each["operations"])[:5]))
    for axes, protocol in zip(panels, OUTER, strict=False):
        rows = found.all("paper_blocks", protocol=protocol, denominator="once")
        for each in rows:
            left = 0.0
            for number, kind in enumerate([*kinds, "others"]):
                sizes = {**dict.fromkeys(kinds, 0), **{name: held[1] for name, held in each["operations"].items()}}
                others = sum(size for name, size in sizes.items() if name not in kinds)
                wide = (others if kind == "others" else sizes[kind]) / 1e6
                label = kind if each is rows[0] else None
                axes.barh(each["name"], wide, left=left, color=f"C{number % 10}", label=label)
                left += wide
        axes.set(title=f"one block at the paper's shape, {protocol.upper()}", xlabel="MB sent by all parties")
    _beside(panels[2], found)
    rows = found.all("paper_blocks", protocol="semi2k", denominator="once")
    panels[3].barh([each["name"] for each in rows], [max(party[1] for party in each["runs"][0]) for each in rows])
    panels[3].set(title="messages of a party, SEMI2K (not rounds)", xlabel="messages")
    for axes in panels:
        axes.invert_yaxis()
        if axes.get_legend_handles_labels()[0]:
            # below, for bars of any length would be hidden
            axes.legend(fontsize="x-small", ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    return figure


def _beside(axes: Any, found: Found) -> None:
    series = {"paper, whole model": [PAPER[name].gigabytes for name in ORDER]}
    for protocol in OUTER:
        if sizes := found.series("paper_blocks", ORDER, protocol):
            series[f"{protocol.upper()}, one block"] = sizes
    for number, (label, sizes) in enumerate(series.items()):
        places = [place + 0.27 * (number - 1) for place in range(len(ORDER))]
        axes.barh(places, [size / sizes[0] for size in sizes], 0.25, label=label)
    axes.set_yticks(range(len(ORDER)), ORDER)
    axes.set(title="bytes as a share of SM+LN+G", xlabel="share")


def _flat(held: dict) -> str:
    machine, here, there = (
        ", ".join(f"{name} {value}" for name, value in held[kind].items()) for kind in ("machine", "here", "spu")
    )
    return f"{machine}; exported with {here}" + (f"; run with {there}" if there else "")


def main(words: list[str]) -> int:
    """Prints the report, and renews picture and README.md; of tiny runs it prints, and draws beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="reports on what --smoke of the others left")
    chosen = parser.parse_args(words)
    found = load(SMOKE / "results" if chosen.smoke else HERE / "results")
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
