"""`jattn sample`."""

from jattn import cli


def test_sample_goes_on_from_the_prompt(trained, capsysbinary):
    words = ["sample", "--dir", str(trained), "--prompt", "the ", "--count", "5", "--top-k", "3", "--top-p", "0.9"]
    texts = [(cli.main(words), capsysbinary.readouterr().out)[1] for _ in range(2)]
    assert texts[0].startswith(b"the ") and texts[0] == texts[1]
