"""Growth by a power is a straight line."""

import numpy as np

from jattn.benchmarks.pictures import log_log


def test_a_square_law_is_a_straight_line_on_both_logarithmic_axes(tmp_path):
    points = [(n, 3.0 * n**2) for n in (256, 1024, 8192)]
    figure = log_log({"forward": {"jattn": points}, "gradient": {"jattn": points}}, "tokens", "milliseconds")
    assert [axes.get_title() for axes in figure.axes] == ["forward", "gradient"]
    for axes in figure.axes:
        assert axes.get_xscale() == axes.get_yscale() == "log" and axes.get_xlabel() == "tokens"
        # axes scale by transforms that must be straight for these points
        x, y = (axes.transScale.transform(points)).T
        np.testing.assert_allclose(np.diff(y) / np.diff(x), np.log10(4), rtol=1e-6)
    assert figure.axes[0].get_ylabel() == "milliseconds"
