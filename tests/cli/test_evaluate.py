"""`jattn eval`."""

from jattn import cli


def test_eval_measures_on_held_out_and_on_other_text(trained, text, capsys):
    for words in ([], ["--text", text], ["--steps", "1"]):
        assert cli.main(["eval", "--dir", str(trained), *map(str, words)]) == 0
        # two steps from a uniform guess over 256 bytes
        assert 4 < float(capsys.readouterr().out.split()[0]) < 6


def test_a_step_that_was_not_saved_is_refused(trained, refused):
    code, told = refused("eval", "--dir", trained, "--steps", "77")
    assert code == 2 and "77" in told
