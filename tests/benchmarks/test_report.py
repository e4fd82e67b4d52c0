"""A table to read and data to keep."""

import json

from jattn.benchmarks import Row, Spread, report

PEER = Row("short", "jax.nn", Spread(12.34, 11.0, 13.0), Spread(1.0, 1.0, 1.0), "jax.nn", 3 << 20)
OURS = Row("a longer case", "jattn", Spread(1.234, 1.0, 2.0), Spread(0.5, 0.4, 0.6), "jax.nn", None, "words")
BROKEN = Row("short", "other", None, None, "jax.nn", note="does not run here: no compiler")


def test_the_table_is_aligned_and_says_what_is_known():
    head, peer, ours, broken = report.table([PEER, OURS, BROKEN]).splitlines()
    column = head.index("contender")
    assert all(line[column - 1] == " " != line[column] for line in (head, peer, ours, broken))
    assert peer.split("  ")[0] == "short" and "12.3 (11.0 to 13.0)  1 " in peer and peer.endswith("3.0")
    assert "1.23 (1.00 to 2.00)" in ours and "0.50 (0.40 to 0.60)" in ours and ours.endswith("words")
    assert broken.endswith("no compiler") and "(" not in broken


def test_the_record_survives_json_and_names_machine_and_versions():
    held = json.loads(json.dumps(report.record({"made": [PEER, BROKEN]})))
    assert set(held) == {"machine", "versions", "benchmarks"}
    assert held["machine"]["cores"] >= 1 and held["machine"]["device"] == "cpu"
    assert all(held["machine"][name] for name in ("processor", "platform"))
    assert {"python", "jax", "jaxlib"} <= set(held["versions"])
    first, second = held["benchmarks"]["made"]
    assert first["milliseconds"] == {"median": 12.34, "low": 11.0, "high": 13.0}
    assert first["temporary_bytes"] == 3 << 20 and second["milliseconds"] is second["ratio"] is None
    assert set(first) == set(Row._fields)


def test_the_processor_is_named_where_the_system_tells(tmp_path):
    told = tmp_path / "cpuinfo"
    told.write_text("processor : 0\nmodel name\t: Made 9000: fast\nmodel name\t: another\n")
    assert report.processor(told) == "Made 9000: fast"
    assert report.processor(tmp_path / "absent")
