"""Products of linear attention, counted by hand."""

import pytest

import jattn
from jattn.features import Elu, Favor, Hedgehog, Identity, Projection
from jattn.part import Dims
from jattn.planning import linear

DIMS = Dims(4, 2, 2, 8, 5)


@pytest.mark.parametrize(
    "attention, features, maps, sums",
    [
        (jattn.LinearAttention(Elu()), 8, 0, 2 * 5 + 4 * 6),
        # rows that are not divided read no sum of features
        (jattn.LinearAttention(Identity()), 8, 0, 2 * 5 + 4 * 5),
        # directions have no gradient of their own
        (jattn.LinearAttention(Favor(Projection(7))), 7, 2 * (4 + 2) * 8 * 7, 2 * 5 + 4 * 6),
        (jattn.LinearAttention(Hedgehog(width=3)), 6, 3 * (4 + 2) * 8 * 3, 2 * 5 + 4 * 6),
        # heads that forget at rates of their own share no sums
        (jattn.LinearAttention(Elu(), jattn.decays.Retention()), 8, 0, 4 * 5 + 4 * 6),
    ],
    ids=["elu", "identity", "favor", "hedgehog", "retention"],
)
def test_products_are_those_of_features_of_sums_and_of_what_rows_read(attention, features, maps, sums):
    assert linear.token_flops(attention, DIMS) == 2 * (maps + 3 * features * sums)
