"""A table, and the same as data."""

import json

import jax
import jax.numpy as jnp
from jax import lax

from jattn.costs import report
from jattn.costs.count import cost


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


MADE = cost(lambda x, y: (jax.nn.softmax(x @ y), jnp.sort(x)), shape(2, 4, 4), shape(4, 4))


def test_a_table_has_a_line_for_each_kind():
    assert report.text(MADE).splitlines() == [
        "operation                count  shape      entries",
        "softmax                      2  4 x 4           32",
        "product secret x secret      1  8 x 4 x 4      128",
        "sort                         2  4 x 4           32",
        "in each softmax: 1 division an entry, 1 exp an entry, 1 row_max an entry",
        "products: 0.00 GFLOP",
    ]


def test_an_open_loop_is_said():
    made = cost(lambda x, n: lax.fori_loop(0, n, lambda _, x: jnp.exp(x), x), shape(3), 5, public=(1,))
    assert "unknown: the turns of 1 loops; one turn of each takes Cost(1 exp of 3;" in report.text(made)
    assert "1 loops of unknown length: unknown" in report.bill_text(made.under("semi2k"), 0.08, 12.5e6)


def test_a_bill_names_what_it_leaves_out():
    shown = report.bill_text(MADE.under("semi2k"), 0.08, 12.5e6)
    # 505 bytes a row and 192 an entry, 8 rows of 4
    assert "softmax: 10.18 kB in 79 messages, 1 calls" in shown
    assert "sort: no price, 32 entries, unknown" in shown
    # and 512 for the products: opened 8 bytes x 4 x (8 + 4), cut 4 bytes x 8 x 4
    assert "one party sends 10.70 kB in 81 messages, all 2 together 21.39 kB in 162, without what is unknown" in shown
    assert shown.splitlines()[-1].startswith("modelled, not measured: ") and "without what is unknown" in shown


def test_data_is_json():
    bill = MADE.under("semi2k")
    held = json.loads(json.dumps([report.record(MADE), report.bill_record(bill, 0.08, 12.5e6)]))
    assert held[0]["flops"] == MADE.flops == 256 and held[0]["open_loops"] == 0
    assert held[1]["unknown"] == {"sort": 32} and held[1]["bytes"] == bill.bytes
