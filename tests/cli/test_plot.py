"""`jattn plot`."""

from jattn import cli


def test_plot_draws_again(trained, capsys):
    (trained / "loss.png").unlink()
    assert cli.main(["plot", "--dir", str(trained)]) == 0
    assert str(trained / "loss.png") in capsys.readouterr().out and (trained / "loss.png").exists()
