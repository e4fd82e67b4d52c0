"""Which shapes fit, which would with heads before time, and what is said of those that do not."""

import pytest

from jattn.mechanisms import shapes

KEY = (2, 9, 2, 8)


@pytest.mark.parametrize(
    ("query", "key", "others", "swapped"),
    [
        ((2, 7, 4, 8), KEY, {}, False),
        ((2, 4, 4, 8), (2, 4, 4, 8), {}, True),
        ((4, 4, 8), (4, 4, 8), {"mask": (4, 4)}, True),
        ((2, 6, 3, 8), (2, 6, 3, 8), {"mask": (6, 6)}, False),
        ((2, 6, 3, 8), (2, 6, 3, 8), {"query_seq_lengths": (2,)}, True),
        ((7, 4, 8), (0, 2, 8), {}, False),
    ],
)
def test_it_is_known_whether_the_other_reading_fits(query, key, others, swapped):
    assert shapes.check(query, key, key, others) == swapped


@pytest.mark.parametrize(
    ("vectors", "others", "said"),
    [
        (((2, 7, 5, 8), KEY, KEY), {}, "5 query heads are no multiple of 2 key heads"),
        (((2, 7, 4, 8), KEY, (2, 9, 3, 8)), {}, "4 query heads are no multiple of 3 value heads"),
        (((2, 7, 4, 6), KEY, KEY), {}, "queries have width 6 and keys 8"),
        (((2, 7, 4, 8), KEY, (2, 5, 2, 8)), {}, "there are 9 keys and 5 values"),
        (((3, 7, 4, 8), KEY, KEY), {}, "share their leading batch axes"),
        (((7, 4, 8), KEY, KEY), {}, "share their rank, at least 3"),
        (((2, 7, 4, 8), KEY, KEY), {"bias": (3, 7, 9)}, r"bias of shape \(3, 7, 9\) does not broadcast to"),
        (((2, 7, 4, 8), KEY, KEY), {"key_lengths": (3,)}, r"of shape \(3,\) does not broadcast to \[batch\] = \(2,\)"),
        (
            ((2, 4, 7, 8), (2, 2, 9, 8), (2, 2, 9, 8)),
            {},
            "4 queries of 7 heads .* 4 heads of 7 queries .* swap the axes",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(vectors, others, said):
    with pytest.raises(ValueError, match=said) as refusal:
        shapes.check(*vectors, others)
    assert "\n" not in str(refusal.value)
