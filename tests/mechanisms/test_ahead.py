"""Which attention lets a row see what comes behind it."""

import pytest

from jattn.mechanisms.ahead import sees_later
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.log_normal_diagonal import LogNormalDiagonal
from jattn.mechanisms.mimicry import Mimicry
from jattn.mechanisms.short_convolution import ShortConvolution
from jattn.part import Dims
from jattn.parts.masks import Full
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.function import Function
from jattn.parts.masks.prefix import Prefix
from jattn.parts.masks.window import Window

DIMS = Dims(2, 2, 2, 4, 4, length=300)
AHEAD = {
    "full": (Full(), True),
    "causal": (Causal(), False),
    "window": (Window(5), False),
    "window ahead": (Window(5, 1), True),
    "window ahead of one head": (Window(5, (0, 1)), True),
    "sinks alone": (Prefix(3), True),
    "sinks and the past": (Causal() & (Window(5) | Prefix(3)), False),
    "not the past": (~Causal(), True),
    "not what comes": (~Function(lambda batch, head, query, key: query < key), False),
    "a function": (Function(lambda batch, head, query, key: query >= key), False),
    "a function ahead of one head": (Function(lambda batch, head, query, key: query + head >= key), True),
    "a function far ahead": (Function(lambda batch, head, query, key: (query >= key) | (key == 299)), True),
}


@pytest.mark.parametrize("name", AHEAD)
def test_masks_are_asked(name):
    mask, found = AHEAD[name]
    assert sees_later(mask, DIMS) == found


def test_each_mechanism_names_what_keeps_it_back():
    for attention, cure in (
        (Attention(), "mask causal"),
        (Attention(mask=Causal()), None),
        (LinearAttention(), None),
        (LinearAttention(order="full"), "order causal"),
        (LogNormalDiagonal(), None),
        (LogNormalDiagonal(order="full"), "order causal"),
        (ShortConvolution(), None),
        (ShortConvolution(Attention()), "inner.mask causal"),
        (Mimicry(), "teacher.mask causal"),
        (Mimicry(Attention(mask=Causal())), None),
    ):
        assert attention.looks_ahead(DIMS) == cure


def test_of_one_token_there_is_no_later_one():
    assert not sees_later(Full(), Dims(1, 1, 1, 4, 4, length=1))
