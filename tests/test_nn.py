"""`jattn.nn` shows layers and models by name."""

import pytest

from jattn import nn


def test_layers_and_models_are_shown():
    assert {"MultiHead", "Grouped", "Decoder", "DecoderConfig", "Stack", "Block"} <= set(dir(nn))
    assert nn.Decoder.__module__ == "jattn.models.decoder"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(AttributeError, match="Decoder"):
        getattr(nn, "Decodr")  # noqa: B009
