"""Saved measurements as tables, the paper's columns beside them."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from jattn.costs.bill import modelled_seconds
from jattn.costs.private import PROTOCOLS, Sent

# Cheetah takes minutes for a block
OUTER = ("semi2k", "aby3")
# from the most to the least, as in the paper
ORDER = ("SM+LN+G", "SM+LN+R", "SM+ScFFN", "SM+ScFuFFN")


class Published(NamedTuple):
    """A row of the paper's table for 12 layers and 128 tokens: counts in the model, FLOPs, communication of it all."""

    softmaxes: int
    norms: int
    activations: str
    feedforward_gflops: float
    attention_gflops: float
    gigabytes: float
    perplexity: float


# arXiv:2501.03489 and its AERO companion, GPT-2 of 12 layers, 12 heads and width 768 on CodeParrot
PAPER = {
    "SM+LN+G": Published(144, 24, "12 GELU", 14.5, 7.7, 25.32, 2.69),
    "SM+LN+R": Published(144, 24, "12 ReLU", 14.5, 7.7, 9.44, 2.76),
    "SM+ScFFN": Published(144, 0, "", 14.5, 7.7, 6.95, 3.50),
    "SM+ScFuFFN": Published(144, 0, "", 1.8, 7.7, 6.43, 3.48),
    "SM(t)+ScFuFFN": Published(144, 0, "", 1.8, 7.7, 6.43, 3.21),
}


class Found(NamedTuple):
    """The rows of each part that was measured, by its name, and the machine and versions of each."""

    rows: dict[str, list[dict]]
    heads: dict[str, dict]

    def all(self, part: str, **match: Any) -> list[dict]:
        """Those that match."""
        rows = self.rows.get(part, [])
        return [row for row in rows if all(row.get(name) == held for name, held in match.items())]

    def sent(self, part: str, name: str, protocol: str, denominator: str = "once", **match: Any) -> Sent | None:
        """By all parties together, in the first run; None where it was not measured."""
        rows = self.all(part, name=name, protocol=protocol, denominator=denominator, **match)
        return together(rows[0]["runs"][0]) if rows else None

    def series(self, part: str, subjects: Iterable[str], protocol: str, denominator: str = "once") -> list[int] | None:
        """Bytes of several, None where one is missing."""
        found = [self.sent(part, name, protocol, denominator) for name in subjects]
        return None if None in found else [each.bytes for each in found]


def together(run: list[list[int]]) -> Sent:
    """What the parties of one run sent."""
    return Sent(*(sum(party[n] for party in run) for n in range(2)))


def load(folder: Path) -> Found:
    """Whatever of it is there."""
    held = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    parts = {name: each for name, each in held.items() if "rows" in each}
    heads = {name: {"machine": each["machine"], **each["versions"]} for name, each in parts.items()}
    return Found({name: each["rows"] for name, each in parts.items()}, heads)


def paper_table(found: Found) -> list[str]:
    """The paper's columns and ours side by side."""
    lines = row(
        "block", "SM", "LN", "G or R", "FLOPs of FFN, attention", "paper, GB", "saves",
        *(f"{name}, MB" for name in ("SEMI2K", "ABY3")), "saves", "each weight divided, MB", "messages of a party",
        "WAN, modeled, s", head=True,
    )  # fmt: skip
    names = dict.fromkeys([*PAPER, *(each["name"] for each in found.all("paper_blocks"))])
    for name in names:
        two, three, divided = (
            found.sent("paper_blocks", name, *setting) for setting in (("semi2k",), ("aby3",), ("semi2k", "broadcast"))
        )
        whole = [found.sent("paper_blocks", "SM+LN+G", protocol) for protocol in OUTER]
        saves = [
            f"{base.bytes / one.bytes:.2f}" if base and one else "–"
            for base, one in zip(whole, (two, three), strict=True)
        ]
        ours = [megabytes(each.bytes) if each else "–" for each in (two, three)]
        published = PAPER.get(name)
        theirs = ("–",) * 6
        if published:
            counts = published.softmaxes, published.norms, published.activations or 0
            flops = f"{published.feedforward_gflops}B, {published.attention_gflops}B"
            theirs = *map(str, counts), flops, f"{published.gigabytes}", f"{ratio(name)}×"
        party = busiest(found, "paper_blocks", name=name, protocol="semi2k", denominator="once")
        lines += row(
            name, *theirs, *ours, " / ".join(saves), megabytes(divided.bytes) if divided else "–",
            str(party.messages) if party else "–",
            f"{modelled_seconds(party.messages, party.bytes):.1f}" if party else "–",
        )  # fmt: skip
    return lines if found.all("paper_blocks") else []


def counted_table(found: Found) -> list[str]:
    """Softmax of all heads, a norm, an activation."""
    shapes = {"softmax": "12 × 128 × 128", "layer_norm": "128 × 768", "gelu": "128 × 3072", "relu": "128 × 3072"}
    lines = row("operation", "numbers", "SEMI2K, MB", "messages", "ABY3, MB", "messages", head=True)
    for name, shape in shapes.items():
        cells = [_cells(found, "paper_operations", name, protocol) for protocol in OUTER]
        lines += row(name.replace("_", " "), shape, *cells[0], *cells[1])
    return lines if found.all("paper_operations") else []


def blocks_table(found: Found) -> list[str]:
    """Every preset with both denominators."""
    settings = [(protocol, denominator) for protocol in OUTER for denominator in ("once", "broadcast")]
    heads = [f"{protocol.upper()}, {'row' if how == 'once' else 'weight'}, kB" for protocol, how in settings]
    lines = row("block", *(cell for head in heads for cell in (head, "messages")), "error", head=True)
    for name in dict.fromkeys(each["name"] for each in found.all("blocks")):
        cells = [cell for setting in settings for cell in _cells(found, "blocks", name, *setting, scale=1e3)]
        error = max(each["error"] for each in found.all("blocks", name=name))
        lines += row(name, *cells, f"{error:.1e}")
    return lines if found.all("blocks") else []


def replacements_table(found: Found) -> list[str]:
    """Bytes of the block with another function in softmax's place."""
    rows = found.all("replacements")
    names, kinds = (list(dict.fromkeys(each[key] for each in rows)) for key in ("name", "weights"))
    lines = row("weights", *(cell for name in names for cell in (f"{name}, kB", "messages", "error")), head=True)
    for kind in kinds:
        cells = []
        for name in names:
            cells += _cells(found, "replacements", name, "semi2k", scale=1e3, weights=kind)
            cells.append(
                ", ".join(f"{each['error']:.1e}" for each in found.all("replacements", name=name, weights=kind))
            )
        lines += row(kind.replace("_", " "), *cells)
    return lines if rows else []


def operations_table(found: Found) -> list[str]:
    """All protocols; where one divides, for a row and for each weight."""
    rows = found.all("operations")
    heads = [cell for protocol in PROTOCOLS for cell in (f"{protocol.upper()}, bytes", "messages", "error")]
    lines = row("operation", "divides", *heads, head=True)
    for name, how in dict.fromkeys((each["name"], each["denominator"]) for each in rows):
        cells = []
        for protocol in PROTOCOLS:
            cells += _cells(found, "operations", name, protocol, how, scale=1)
            errors = found.all("operations", name=name, protocol=protocol, denominator=how)
            cells.append(", ".join(f"{each['error']:.1e}" for each in errors))
        lines += row(name.replace("_", " "), "a row" if how == "once" else "each weight", *cells)
    return lines if rows else []


def trained_table(found: Found) -> list[str]:
    """What a byte costs in float32 and in fixed point."""
    rows = found.rows.get("trained", [])
    lines = row(
        "run", "bytes scored", "nats a byte, float32", "in fixed point", "largest logit", "off by", "MB", head=True
    )
    for each in rows:
        figures = each["nats"], each["fixed_point_nats"], each["logits"], each["error"]
        sent = megabytes(together(each["runs"][0]).bytes)
        lines += row(each["name"], str(each["bytes_scored"]), *(f"{figure:g}" for figure in figures), sent)
    return lines if rows else []


def offline_table(found: Found) -> list[str]:
    """Which dealers the library knows."""
    lines = row("dealer", "", head=True)
    for each in found.rows.get("offline", []):
        lines += row(each["beaver"], each.get("refused") or f"runs; the dealer's work sends nothing: {each['sent']}")
    return lines if found.rows.get("offline") else []


def busiest(found: Found, part: str, **match: Any) -> Sent | None:
    """What the party that sends the most bytes sent."""
    rows = found.all(part, **match)
    return Sent(*rows[0]["runs"][0][0]) if rows else None


def ratio(name: str) -> str:
    """How many times less the paper's model sends than its SM+LN+G."""
    return f"{PAPER['SM+LN+G'].gigabytes / PAPER[name].gigabytes:.2f}"


def megabytes(count: int) -> str:
    """Three digits of so many bytes."""
    return f"{count / 1e6:.3g}" if count < 1e9 else f"{count / 1e6:.0f}"


def row(*cells: str, head: int = 0) -> list[str]:
    """A line of a table, and below a head the rule."""
    line = f"| {' | '.join(cells)} |"
    return [line, f"|{'---|' * len(cells)}"] if head else [line]


def _cells(
    found: Found, part: str, name: str, protocol: str, denominator: str = "once", *, scale: float = 1e6, **match: Any
) -> list[str]:
    """Bytes of all parties, and messages of the busiest."""
    sent = found.sent(part, name, protocol, denominator, **match)
    if sent is None:
        return ["–", "–"]
    one = busiest(found, part, name=name, protocol=protocol, denominator=denominator, **match)
    if scale == 1:
        return [f"{sent.bytes:,}", str(one.messages)]
    shown = sent.bytes / scale
    return [f"{shown:.3g}" if shown < 1e3 else f"{shown:,.0f}", str(one.messages)]


TABLES: dict[str, Callable[[Found], list[str]]] = {
    "One block at the paper's shape beside the paper's whole model: 128 tokens, width 768, 12 heads": paper_table,
    "What the paper counts, once each, at its shape": counted_table,
    "One block of 24 tokens, width 48, 3 heads": blocks_table,
    "Softmax replaced in that block, SEMI2K, one division a row": replacements_table,
    "Single operations: weights of 2 heads on 16 tokens, width 32, 128 inside": operations_table,
    "Trained decoders": trained_table,
    "Triples of SEMI2K": offline_table,
}
