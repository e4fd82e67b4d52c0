"""`jattn bench`."""

import json
import sys

import pytest

from jattn import benchmarks, cli
from jattn.benchmarks import Row, Spread, attention, attention_lengths, linear_attention, training_step


def test_a_tiny_round_of_each_prints_and_writes_the_same(tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch", reason="a peer is in the extra `bench`")
    # its tiny round is a slow test of its own
    row = Row("decoding", "tokens 1 to 8", Spread(1, 1, 1), Spread(1, 1, 1), "tokens 1 to 8", length=32)
    monkeypatch.setattr(linear_attention, "measure", lambda setting: [row])
    file = tmp_path / "figures.json"
    assert cli.main(["bench", "--smoke", "--json", str(file)]) == 0
    shown, held = capsys.readouterr().out, json.loads(file.read_text(encoding="utf-8"))
    assert list(held["benchmarks"]) == list(benchmarks.names())
    for name, rows in held["benchmarks"].items():
        (block,) = [block for block in shown.split("\n\n") if block.startswith(name + "\n")]
        # below the name and the head one line a row, in the same order
        lines = block.splitlines()[2:]
        assert rows and len(lines) == len(rows)
        for line, row in zip(lines, rows, strict=True):
            assert line.startswith(row["case"]) and row["contender"] in line
    assert f"jax {held['versions']['jax']}" in shown.splitlines()[-1]


def test_only_the_named_are_measured_in_the_order_named(monkeypatch, capsys):
    order = []
    for module in (attention, training_step):
        monkeypatch.setattr(module, "measure", lambda setting, module=module: order.append((module, setting)) or [])
    assert cli.main(["bench", "training-step", "attention"]) == 0
    assert order == [(training_step, training_step.FULL), (attention, attention.FULL)]
    assert cli.main(["bench", "--smoke", "--only", "attention"]) == 0
    assert order[2:] == [(attention, attention.SMOKE)]


def test_a_page_is_renewed_and_shows_the_pictures_from_where_it_lies(tmp_path, monkeypatch):
    page, folder = tmp_path / "page.md", tmp_path / "drawn" / "here"
    page.write_text("# By hand\n", encoding="utf-8")
    row = Row("forward", "jattn", Spread(1, 1, 1), Spread(1, 1, 1), "jax.nn", 2**20, length=64)
    monkeypatch.setattr(attention_lengths, "measure", lambda setting: [row])
    command = ["bench", "attention_lengths", "--markdown", str(page), "--pictures", str(folder)]
    assert cli.main(command) == cli.main(command) == 0
    told = page.read_text(encoding="utf-8")
    assert told.startswith("# By hand\n") and told.count("`jattn bench attention_lengths`; cores ") == 1
    assert "![attention lengths time](drawn/here/attention_lengths_time.png)" in told
    assert sorted(file.name for file in folder.iterdir()) == [
        "attention_lengths_memory.png",
        "attention_lengths_time.png",
    ]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["attenton"], "no benchmark 'attenton'; the nearest are attention, linear_attention, attention_lengths."),
        # refused before the first is measured
        (
            ["--only", "attention", "zzz"],
            "There is no benchmark 'zzz'; there are attention, attention_lengths, linear_attention, recurrence, saves",
        ),
        (["--smoke", "attention"], "--smoke takes no value, got 'attention'; write it alone."),
        (
            ["--json", "nowhere/figures.json"],
            "--json must name a file that can be written, got 'nowhere/figures.json': No such",
        ),
        (
            ["--markdown", "nowhere/page.md"],
            "--markdown must name a file that can be written, got 'nowhere/page.md': No such",
        ),
        (["--pictures", "file/there"], "--pictures must name a folder, or one that can be made, got 'file/there': "),
        (
            ["--markdown", "cut.md"],
            "must hold <!-- end of jattn bench attention --> below it, got none; write it there.",
        ),
        (["--onyl", "attention"], "jattn bench has no option --onyl; the nearest are --only, --json."),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(words, sentence, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "cut.md").write_text("<!-- jattn bench attention -->\n", encoding="utf-8")
    monkeypatch.setattr(attention, "measure", lambda setting: pytest.fail("measured"))
    code, told = refused("bench", *words)
    assert code == 2 and sentence in told


@pytest.mark.slow
def test_without_torch_the_others_are_measured_and_one_sentence_names_the_extra(monkeypatch, capsys, refused):
    monkeypatch.setitem(sys.modules, "torch", None)
    for module in (attention, attention_lengths, linear_attention):
        monkeypatch.setattr(module, "measure", lambda setting: [])
    assert cli.main(["bench", "--smoke"]) == 0
    shown = capsys.readouterr()
    sentence = 'needs torch, which is not installed; pip install "jattn[bench]" brings it.\n'
    assert shown.err == f"The benchmark training_step {sentence}"
    assert shown.out.startswith("attention\n") and "training_step" not in shown.out
    assert refused("bench", "--smoke", "--only", "training_step") == (2, f"This command {sentence}")


def test_a_wrong_result_is_one_sentence_and_code_1(monkeypatch, refused):
    def wrong(setting):
        raise FloatingPointError("What is timed must be right; mend it first.")

    monkeypatch.setattr(attention, "measure", wrong)
    assert refused("bench", "--only", "attention") == (1, "What is timed must be right; mend it first.\n")


def test_a_contender_that_was_refused_is_told_and_code_1(monkeypatch, capsys):
    row = Row("case", "jattn", None, None, "jax.nn", note="refused: it is wrong.")
    monkeypatch.setattr(attention, "measure", lambda setting: [row, row])
    assert cli.main(["bench", "attention"]) == 1
    shown = capsys.readouterr()
    assert "jattn" in shown.out and shown.err == "refused: it is wrong.\n"
