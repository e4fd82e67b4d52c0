"""Words become fields: parts by name, then their fields; what does not fit is refused in a sentence."""

import dataclasses
import re
import shlex
from typing import Literal

import pytest

from jattn.cli import options
from jattn.layers.heads.mega import Mega
from jattn.mechanisms import Mechanism
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.delta import DeltaAttention
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.recurrence import Recurrence
from jattn.mechanisms.short_convolution import ShortConvolution
from jattn.models.decoder import DecoderConfig
from jattn.parts.features.favor import Favor
from jattn.parts.features.projections import Projection
from jattn.parts.masks import Both, Mask, Other
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.normalizers.squared_relu import SquaredRelu
from jattn.parts.positions import Unturned
from jattn.parts.positions.rotary import Rotary
from jattn.parts.scores.forgetting import Forgetting
from jattn.parts.scores.t5_bias import T5Bias
from jattn.parts.transitions.damped_ema import DampedEma


@dataclasses.dataclass(frozen=True)
class Model:
    """A model in small."""

    depth: int = 4
    rate: float = 0.1
    attention: Attention = Attention()
    norm: Literal["rms", "layer"] = "rms"


@dataclasses.dataclass(frozen=True)
class Held:
    """A run in small."""

    model: Model = Model()
    steps: int = 3
    top_k: int | None = None
    files: tuple[str, ...] = ()


def _read(line):
    found = options.given(shlex.split(line))
    held = options.build(Held(), found)
    options.refuse_unknown(found, (held,), "train")
    return held


def test_values_and_nested_values_in_both_spellings():
    held = _read("--model.depth 6 --steps=5 --model.rate 1e-3 --top-k 7 --files a 'b c'")
    assert (held.model.depth, held.steps, held.model.rate) == (6, 5, 1e-3)
    assert (held.top_k, held.files) == (7, ("a", "b c"))


def test_nothing_given_changes_nothing():
    assert _read("") == Held()


def test_a_part_by_name_then_its_fields_in_any_order():
    want = Window(left=64)
    assert _read("--model.attention.mask window --model.attention.mask.left 64").model.attention.mask == want
    assert _read("--model.attention.mask.left=64 --model.attention.mask=WINDOW").model.attention.mask == want
    assert _read("--model.attention.normalizer squared-relu").model.attention.normalizer == SquaredRelu()


def test_a_tuple_of_numbers_or_one():
    assert _read("--model.attention.mask window --model.attention.mask.left 6 7").model.attention.mask.left == (6, 7)


def test_several_scores_and_their_fields_by_number():
    held = _read("--model.attention.score forgetting t5_bias --model.attention.score.1.buckets 16")
    assert held.model.attention.score == (Forgetting(), T5Bias(buckets=16))
    assert _read("--model.attention.score none").model.attention.score == ()


def test_linear_attention_goes_by_the_name_of_its_features():
    words = "--attention favor --attention.feature.projection.redraw 3"
    held = options.build(DecoderConfig(), options.given(words.split()))
    assert held.attention == LinearAttention(Favor(Projection(redraw=3)), position=Rotary())
    assert options.combined(Mechanism, "elu") == LinearAttention()
    with pytest.raises(ValueError, match="No part of mechanisms is called 'favr'; the nearest is favor"):
        options.combined(Mechanism, "favr")
    page = " ".join(options.page("train", "", (held,)).split())
    assert re.search("one of attention, .*linear_attention, .*elu, favor, ", page)


def test_another_attention_keeps_positions_axis_and_order_and_nothing_else():
    @dataclasses.dataclass(frozen=True)
    class Any:
        attention: Mechanism

    def read(words, before=Attention(mask=Causal(), position=Rotary(base=9.0), context_axis="context")):
        return options.build(Any(before), options.given(words.split())).attention

    placed = {"position": Rotary(base=9.0), "context_axis": "context"}
    assert read("--attention elu") == LinearAttention(**placed)
    assert read("--attention attention") == Attention(**placed)
    # one without an axis, and one without either
    assert read("--attention delta_attention") == DeltaAttention(position=Rotary(base=9.0))
    assert read("--attention short_convolution") == ShortConvolution()
    # rows that see all keys go on to
    assert read("--attention elu", Attention()) == LinearAttention(order="full")
    assert read("--attention favor", LinearAttention(order="full")) == LinearAttention(Favor(), order="full")
    assert read("--attention elu --attention.order causal", Attention()) == LinearAttention()
    assert read("--attention elu --attention.position unturned").position == Unturned()
    assert read("--attention elu --attention.position.base 5").position == Rotary(base=5.0)


def test_masks_combine_by_an_expression():
    held = _read("--model.attention.mask 'causal & ~window' --model.attention.mask.members.1.inner.left 9")
    assert held.model.attention.mask == Both((Causal(), Other(Window(left=9))))


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("--model.depht 3", "jattn train has no option --model.depht; the nearest"),
        ("--model.attention.mask.left 3", "has no option --model.attention.mask.left"),
        ("--model.depth x", "--model.depth takes a whole number, got 'x'"),
        ("--model.depth 1.5", "--model.depth takes a whole number, got '1.5'"),
        ("--model.depth 1 2", "--model.depth takes a whole number, got '1 2'"),
        ("--model.depth", "--model.depth takes a whole number, got nothing"),
        ("--model.norm rsm", "--model.norm takes rms or layer, got 'rsm'"),
        ("--model.attention.mask", "takes the name of a part, got nothing"),
        ("--model.attention.mask windw", "No part of masks is called 'windw'; the nearest is window"),
        ("--model.attention.mask os.system", "got the path 'os.system'"),
        ("--model.attention.mask jattn.parts.masks.causal.Causal", "got the path"),
        ("--model.attention.mask 'causal & os.system'", "got the path"),
        ("--model.attention.mask 'causal &'", "Masks combine by"),
        ("--model.attention.normalizer 'softmax | sink'", "Masks alone combine"),
        ("--model.attention.mask window --model.attention.mask.left -4", "Window.left must be at least 0"),
        ("steps 4", "Options begin with two hyphens, got 'steps'"),
    ],
)
def test_what_does_not_fit_is_refused(line, sentence):
    with pytest.raises(ValueError) as refused:
        _read(line)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_the_page_shows_the_fields_of_what_is_chosen():
    chosen = _read("--model.attention.mask window --model.attention.mask.left 77 --model.attention.score t5bias")
    page = " ".join(options.page("train", "Trains.", (chosen,)).split())
    for words in ("--model.attention.mask.left", "(default: 77)", "--model.attention.score.0.buckets", "--top-k"):
        assert words in page
    assert "--model.attention.mask.left" not in options.page("train", "Trains.", (Held(),))


def test_the_page_says_of_each_group_what_its_class_says():
    page = options.page("train", Held.__doc__, (Held(),))
    assert "\nmodel:\n  A model in small.\n" in page and page.count(Held.__doc__) == 1


@pytest.mark.parametrize("name", ["both", "Either", "other", "causal & both"])
def test_what_joins_masks_is_no_mask_of_its_own(name):
    with pytest.raises(ValueError, match="joins other parts, got it alone; write 'causal & window'"):
        options.combined(Mask, name)


def test_a_part_that_may_be_left_out_is_its_own_choice_or_none():
    def read(line):
        found = options.given(shlex.split(line))
        held = options.build(DecoderConfig(heads=1, projection=Mega()), found)
        options.refuse_unknown(found, (held,), "train")
        return held.projection.recurrence

    assert read("--projection.recurrence none") is None
    assert read("--projection.recurrence recurrence --projection.recurrence.truncation 9").truncation == 9
    both = read("--projection.recurrence.backward damped-ema --projection.recurrence.backward.expansion 2")
    assert both.backward == DampedEma(2)
    assert read("--projection.recurrence.backward none") == Recurrence()
    with pytest.raises(ValueError, match="This part is recurrence or none, got 'softmax'"):
        read("--projection.recurrence softmax")
    page = options.page("train", "", (DecoderConfig(heads=1, projection=Mega()),))
    assert "one of recurrence, none" in page and re.search("one of damped_ema, .*none", page)
