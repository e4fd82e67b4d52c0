"""Which directory a command means."""

from jattn.cli import runs


def test_without_a_directory_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(runs.place()) == "runs/1"
    (tmp_path / "runs" / "1").mkdir(parents=True)
    assert str(runs.place()) == "runs/2"
