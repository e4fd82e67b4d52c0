"""The tables and pictures of the page about scale."""

from jattn.planning import scale

SLICES = ("1x1x1", "2x2x2", "8x8x8")


def test_each_slice_has_a_row_and_a_point(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(scale, "SHAPES", SLICES)
    scale.main(str(tmp_path))
    head, line, *rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| 1", "| 8", "| 512"]
    assert {len(row.split(" | ")) for row in (head, line, *rows)} == {8}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["scale_memory.png", "scale_shares.png"]
    figure = scale.shares(scale.best())
    lengths = {line.get_label(): len(line.get_xdata()) for line in figure.axes[0].get_lines()}
    # sixteen heads are split no further
    assert lengths == {"data": 3, "fsdp": 3, "tensor": 2, "context": 3, "the best mesh": 3}


def test_a_chip_has_as_many_tokens_at_once_until_examples_run_out():
    assert [scale.run_on(count).accumulate for count in (1, 64, 256, 4096)] == [256, 4, 1, 1]
