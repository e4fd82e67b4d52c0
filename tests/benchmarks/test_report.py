"""A table to read, a section of a page, and data to keep."""

import json

import pytest

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


def test_columns_that_no_row_fills_are_left_out():
    assert report.table([PEER]).splitlines()[0].split() == "case contender ms ratio to temporary MiB".split()
    shown = report.table([OURS._replace(origin="a model", length=64)]).splitlines()
    assert "tokens  shape from" in shown[0] and "64      a model" in shown[1]


def test_a_small_ratio_has_two_digits_that_count():
    assert "0.041 (0.040 to 0.042)" in report.table([OURS._replace(ratio=Spread(0.0412, 0.0404, 0.0421))])


def test_a_section_names_command_machine_and_versions_and_shows_pictures():
    section = report.markdown("jattn bench made", [PEER, BROKEN], ["pictures/made_time.png"])
    told, _, head, rule, *rows = section.splitlines()
    assert told.startswith("`jattn bench made`; cores ") and "jax 0." in told and "device cpu" in told
    assert head == "| case | contender | ms | ratio | to | temporary MiB | note |"
    assert rule.count("---") == head.count("|") - 1 and all(row.count("|") == head.count("|") for row in rows[:2])
    assert rows[2:] == ["", "![made time](pictures/made_time.png)"]


def test_a_section_is_renewed_between_its_marks_and_nothing_else_changes():
    page = "# Page\n\nby hand\n"
    first = report.renewed(page, "made", "old")
    assert first == f"{page}\n## made\n\n<!-- jattn bench made -->\n\nold\n\n<!-- end of jattn bench made -->\n"
    longer = report.renewed(first, "made_longer", "other") + "\nmore by hand\n"
    assert report.renewed(longer, "made", "new") == longer.replace("old", "new")
    # a new page has no empty lines above
    assert report.renewed("", "made", "old").startswith("## made\n")


def test_a_mark_without_its_end_is_refused():
    with pytest.raises(ValueError, match="must hold <!-- end of jattn bench made --> below it, got none; write it"):
        report.renewed("<!-- jattn bench made -->\nold\n", "made", "new")


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
