"""The tables on made-up rows, and the paper's own columns."""

from pathlib import Path

import pytest

from jattn.costs.private import Sent
from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "private_cost"
side_by_side = listed.executed(FOLDER / "side_by_side.py")


def measured(name, protocol="semi2k", denominator="once", sent=1000, **more):
    parties = [[sent // 2, 7], [sent // 2, 5]]
    return {
        "name": name, "protocol": protocol, "denominator": denominator, "runs": [parties, parties], "error": 0.001,
        "operations": {"dot": [1, sent, 12]}, **more,
    }  # fmt: skip


def found(**rows):
    return side_by_side.Found(rows, {})


def test_the_papers_savings_are_those_it_prints():
    assert [side_by_side.ratio(name) for name in ("SM+LN+R", "SM+ScFFN", "SM+ScFuFFN")] == ["2.68", "3.64", "3.94"]


def test_flops_are_those_of_the_formula():
    # 16 L D^2 T, fused 2 L D^2 T, and L (8 D^2 T + 3 T^2 D), for 12 layers of width 768 and 128 tokens
    layers, width, tokens = 12, 768, 128
    attention = layers * (8 * width**2 * tokens + 3 * tokens**2 * width) / 1e9
    for name, published in side_by_side.PAPER.items():
        times = 2 if "Fu" in name else 16
        assert round(times * layers * width**2 * tokens / 1e9, 1) == published.feedforward_gflops
        assert round(attention, 1) == published.attention_gflops


def test_what_was_measured_stands_beside_the_paper():
    rows = [measured("SM+LN+G", sent=8_000_000), measured("SM+ScFuFFN", sent=2_000_000)]
    lines = side_by_side.paper_table(found(paper_blocks=rows))
    (line,) = [line for line in lines if line.startswith("| SM+ScFuFFN |")]
    # 7 messages of 80 ms and a megabyte at 100 Mbit/s are a model's 0.64 seconds
    expected = "| SM+ScFuFFN | 144 | 0 | 0 | 1.8B, 7.7B | 6.43 | 3.94× | 2 | – | 4.00 / – | – | 7 | 0.6 |"
    assert line == expected
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("name", ["counted_table", "blocks_table", "operations_table", "replacements_table"])
def test_every_table_has_as_many_cells_in_each_row(name):
    rows = [
        measured(subject, protocol, how, weights=weights)
        for subject in ("softmax", "gelu") for protocol in ("semi2k", "aby3") for how in ("once", "broadcast")
        for weights in ("softmax", "linear")
    ]  # fmt: skip
    part = {"counted_table": "paper_operations"}.get(name, name.removesuffix("_table"))
    lines = getattr(side_by_side, name)(found(**{part: rows}))
    assert len(lines) > 3 and len({line.count("|") for line in lines}) == 1
    assert not getattr(side_by_side, name)(found())


def test_sums_are_over_the_parties_of_the_first_run():
    held = found(blocks=[measured("SM", sent=90)])
    assert held.sent("blocks", "SM", "semi2k") == Sent(90, 12) and held.sent("blocks", "SM", "aby3") is None
    assert held.series("blocks", ["SM"], "semi2k") == [90] and held.series("blocks", ["SM", "x"], "semi2k") is None
    assert side_by_side.busiest(held, "blocks", name="SM") == Sent(45, 7)
