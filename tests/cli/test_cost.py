"""`jattn cost`."""

import json
import math

from jattn import cli

SMALL = "--model.width 16 --model.depth 2 --context 8".split()


def test_a_preset_is_counted_and_priced(tmp_path, capsys):
    file = tmp_path / "cost.json"
    options = ["cost", "--preset", "SM+LN+G", *SMALL, "--protocol", "semi2k", "--json", str(file)]
    assert cli.main([*options, "--round-trip", "0", "--bandwidth", "1e6"]) == 0
    shown, held = capsys.readouterr().out, json.loads(file.read_text(encoding="utf-8"))
    lines = [line.split() for line in shown.splitlines()]
    assert ["softmax", "4", "8", "x", "8", "256"] in lines and ["gelu", "2", "8", "x", "64", "1,024"] in lines
    assert ["secret", "index:", "no", "price,", "128", "entries,", "unknown"] in lines
    # 16 layers x width² x tokens; 8 and 3 of attention
    assert held["paper"] == {
        "feed_forward_flops": 2 * 16 * 16**2 * 8,
        "attention_flops": 2 * (8 * 16**2 * 8 + 3 * 8**2 * 16),
    }
    assert held["bill"]["modelled_seconds"] == held["bill"]["bytes"] / 1e6


def test_a_trained_run_is_counted(trained, capsys):
    assert cli.main(["cost", "--dir", str(trained)]) == 0
    shown = capsys.readouterr().out
    # its weights are sparsemax: no softmax
    assert "on one example of 8 tokens" in shown and "softmax" not in shown


def test_every_model_is_counted(tmp_path, capsys):
    file = tmp_path / "cost.json"
    for options, said, softmaxes in (
        (("--preset", "digits"), "4 blocks of width 64 on one example of 17 tokens", 4 * 4 * 17 * 17),
        (("--model", "encoder", *SMALL), "2 blocks of width 16 on one example of 8 tokens", 2 * 2 * 8 * 8),
        (("--model", "encoder_decoder", *SMALL), "of width 16 on one example of 8 tokens on each side", 12 * 8 * 8),
    ):
        assert cli.main(["cost", *options, "--json", str(file)]) == 0
        held, shown = json.loads(file.read_text(encoding="utf-8")), capsys.readouterr().out
        calls = [call for call in held["blocks"]["calls"] if call["kind"] == "softmax"]
        assert sum(call["calls"] * math.prod(call["shape"]) for call in calls) == softmaxes
        # the formula is of decoders
        assert said in shown and "paper" not in held and "formula" not in shown


def test_bad_input_is_one_sentence(refused, trained):
    for options, words in (
        (("--protocol", "semi"), "A protocol must be one that has prices, got 'semi'; the nearest is semi2k."),
        (("--preset", "SM+LM"), "A preset must be one of"),
        (("--preset", "SM", "--dir", trained), "The cost is of --preset or of --dir, got both"),
        (("--dir", "nowhere"), "--dir must hold run.json, got 'nowhere'"),
        (("--bandwidth", "0"), "--bandwidth must be above 0 bytes a second, got 0.0"),
        (("--round-trip", "-1"), "--round-trip must be at least 0 seconds, got -1.0"),
        (("--preset", "SM", "--json", "nowhere/cost.json"), "--json must name a file that can be written"),
        (("--depth", "3"), "jattn cost has no option --depth"),
        (("--preset", "SM(t)+ScFuFFN", "--context", "256"), "Temperature holds a table of 128 positions"),
    ):
        code, sentence = refused("cost", *options)
        assert code == 2 and words in sentence, sentence
