"""What objectives share: arrays that a source must give, and how a batch is padded."""

import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.mechanisms.mimicry import Mimicry
from jattn.models.decoder import DecoderConfig
from jattn.models.encoder import EncoderConfig
from jattn.models.encoder_decoder import EncoderDecoderConfig
from jattn.models.vision_transformer import VisionTransformerConfig
from jattn.parts.masks.window import Window
from jattn.training.objectives import layout
from jattn.training.objectives.distillation import Distillation
from jattn.training.objectives.masked_tokens import MaskedTokens
from jattn.training.objectives.next_token import NextToken
from jattn.training.objectives.penalized import Penalized
from jattn.training.objectives.target_given_source import TargetGivenSource


def test_what_a_source_does_not_give_is_refused():
    batch = {"tokens": np.zeros((2, 3)), "scored": np.ones(2)}
    assert NextToken().needed(batch, "scored", "tokens")[1] is batch["tokens"]
    with pytest.raises(ValueError, match="NextToken reads tokens and label of an example, got one without label from"):
        NextToken().needed(batch, "tokens", "label")


def test_a_batch_says_what_is_padding():
    valid = np.ones((2, 3), bool)
    assert layout({"valid": valid}).valid is valid and layout({}).valid is None


AHEAD = {
    "encoder": (EncoderConfig(), NextToken(), "EncoderConfig.attention .* use --model.attention.mask causal"),
    "decoder": (DecoderConfig(attention=Attention()), NextToken(), "DecoderConfig.attention"),
    "mimicry": (DecoderConfig(attention=Mimicry()), NextToken(), "use --model.attention.teacher.mask causal"),
    "penalized": (EncoderConfig(), Penalized(), "NextToken predicts each token from those before it"),
    "distillation": (EncoderConfig(), Distillation(), "NextToken predicts each token from those before it"),
    "target": (EncoderDecoderConfig(attention=Attention()), TargetGivenSource(), "TargetGivenSource predicts each"),
}


@pytest.mark.parametrize("name", AHEAD)
def test_a_model_that_sees_what_it_predicts_is_refused(name):
    model, objective, said = AHEAD[name]
    with pytest.raises(ValueError, match=said):
        objective.check(model, 128)


def test_other_models_may_look_ahead():
    for model, objective in (
        (EncoderConfig(), MaskedTokens()),
        (EncoderDecoderConfig(), TargetGivenSource()),
        (DecoderConfig(attention=Attention(mask=Window(5))), Penalized()),
        # refused for its images
        (VisionTransformerConfig(), NextToken()),
    ):
        objective.check(model, 128)
