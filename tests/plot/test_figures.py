"""A figure shows the values it is given, on the axes it is given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lmjax import plot

LAGS = -np.arange(50.0)


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plot.learning_curves(
            {"a": ([1, 2, 3], [9.0, 8, 7], [(3, 8.0)]), "b": ([1], [9.0], [])}, ax=ax
        ),
        lambda ax: plot.clip_timeline([0.1, np.inf, 3, np.nan], 1.0, ax=ax),
        lambda ax: plot.eigenvalues(
            {"before": np.exp(1j * LAGS), "after": 0.5 * np.exp(1j * LAGS)}, ax=ax
        ),
        lambda ax: plot.lag_profiles({"rnn": [LAGS, 3 * LAGS], "lstm": [0 * LAGS]}, ax=ax),
        lambda ax: plot.state_gradients({"rnn": LAGS}, ax=ax),
        lambda ax: plot.gradient_map(np.add.outer(LAGS, -LAGS), ax=ax),
        lambda ax: plot.contribution_bars(np.cos(LAGS), ax=ax),
        lambda ax: plot.truncation_curve({"rnn": ([1, 2, 4], [1.0, 0.5, 0.0])}, ax=ax),
        lambda ax: plot.gate_scatter(
            {"i": ([0.5, 0.1], [0.2, 0.3]), "f": ([0, 0.1], [1, 0.9])}, ax=ax
        ),
        lambda ax: plot.position_weights(np.cos(LAGS[:48]).reshape(4, 3, 4), ax=ax),
        lambda ax: plot.word_map(
            np.cos(LAGS[:6]).reshape(2, 3), ["a", "b", "."], ["c", "d"], label="a", ax=ax
        ),
        lambda ax: plot.error_surface(
            LAGS, LAGS, np.add.outer(LAGS, LAGS), {"sgd": [(0, 0), (-9, 80)]}, ax=ax
        ),
    ],
)
def test_axes_given_are_axes_returned_and_all_is_labelled(draw):
    for size in ((2, 1.5), (12, 8)):
        given = plt.subplots(figsize=size)[1]
        assert draw(given) is given
        given.figure.canvas.draw()
    ax = draw(None)
    assert ax.get_xlabel() and ax.get_ylabel()


def test_learning_curves_draw_training_as_lines_and_validation_as_markers():
    ax = plot.learning_curves({"rnn": ([10, 20], [90.0, 60.0], [(20, 70.0)])})
    line, points = ax.lines
    np.testing.assert_array_equal(line.get_xydata(), [(10, 90), (20, 60)])
    np.testing.assert_array_equal(points.get_xydata(), [(20, 70)])
    assert points.get_linestyle() == "None" and points.get_color() == line.get_color()
    without = plot.learning_curves({"rnn": ([], [], [(20, 70.0)])}).get_legend().get_texts()
    assert [text.get_text() for text in without] == ["rnn, validation"]


def test_the_clip_timeline_counts_what_was_scaled_down_and_what_was_not_finite():
    ax = plot.clip_timeline([0.5, 2.0, np.nan, 3.0, np.inf, 1.0], 1.0)
    labels = " ".join(text.get_text() for text in ax.get_legend().get_texts())
    assert "(2 of 6)" in labels and "not finite (2)" in labels and "threshold 1" in labels
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), [(2, 2), (4, 3)])


def test_eigenvalues_lie_where_they_are_and_the_radius_is_told():
    ax = plot.eigenvalues({"W": [0.5 + 1j, -2.0 + 0j]})
    circle, points = ax.lines
    np.testing.assert_allclose(np.hypot(*circle.get_xydata().T), 1)
    np.testing.assert_array_equal(points.get_xydata(), [(0.5, 1), (-2, 0)])
    assert "= 2" in ax.get_legend().get_texts()[0].get_text()


def test_norms_that_no_float_can_hold_are_drawn():
    ax = plot.lag_profiles({"rnn": np.log(10) * -500.0 * np.arange(4)[None]})
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0, -500, -1000, -1500])
    ax.figure.canvas.draw()
    assert "$10^{-1500}$" in [tick.get_text() for tick in ax.get_yticklabels()]


def test_lag_profiles_pass_over_missing_lags_and_end_at_an_exact_zero():
    profiles = np.array([[0.0, -1, -2, -np.inf], [0, -3, np.nan, np.nan], [0, -5, -6, -np.inf]])
    (line,) = plot.lag_profiles({"relu": profiles}).lines
    np.testing.assert_allclose(line.get_ydata() * np.log(10), [0, -3, -6, -np.inf])


def test_the_map_shows_the_causal_half_and_leaves_exact_zeros_blank():
    norms = np.log(10) * np.array([[1.0, 9, 9], [-2, 3, 9], [-np.inf, np.nan, 5]])
    image = plot.gradient_map(norms).images[0]
    np.testing.assert_array_equal(image.get_array().mask, [[0, 1, 1], [0, 0, 1], [1, 1, 0]])
    np.testing.assert_allclose(image.get_array().compressed(), [1, -2, 3, 5])
    np.testing.assert_allclose(image.get_clim(), [-2, 5])


def test_maps_that_share_limits_share_their_colours():
    limits = np.log([1e-6, 1e2])
    shown = [plot.gradient_map(k * np.eye(3), limits=limits).images[0] for k in (1.0, -9.0)]
    for image in shown:
        np.testing.assert_allclose(image.get_clim(), [-6, 2], atol=1e-12)


def test_a_logarithmic_axis_reads_numbers_where_few_powers_are_in_view():
    ax = plot.clip_timeline([0.2, 1.3, 0.25], 1.0)
    ax.set_ylim(0.15, 1.5)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0.2", "0.5", "1"]
    ax.set_ylim(1e-9, 1e3)
    assert "$10^{-8}$" in [text.get_text() for text in ax.get_yticklabels()]


def test_a_profile_without_a_number_is_named_and_not_drawn():
    ax = plot.lag_profiles({"diverged": np.full((2, 5), np.nan), "rnn": LAGS[None]})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["diverged", "rnn"]


def test_contributions_are_bars_of_their_share_and_the_legend_sums_them():
    shares = [0.5, -0.2, 0.7]
    ax = plot.contribution_bars(shares)
    bars = {round(bar.get_center()[0]): bar.get_height() for bar in ax.patches}
    assert bars == dict(enumerate(shares, 1))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "1.2 in all" in labels[0] and "-0.2 in all" in labels[1]


def test_a_way_that_leaves_the_surface_does_not_stretch_it():
    ax = plot.error_surface([0, 1, 2], [0, 1], np.zeros((2, 3)), {"sgd": [(1, 0.5), (900, -900)]})
    assert ax.get_xlim() == (-0.5, 2.5) and ax.get_ylim() == (-0.5, 1.5)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [(1, 0.5), (900, -900)])


def test_the_scatter_puts_a_unit_at_its_shares():
    ax = plot.gate_scatter({"f": ([0.25, 0.0], [0.5, 1.0])})
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), [(0.25, 0.5), (0, 1)])


def test_the_truncation_curve_starts_at_zero_bias():
    ax = plot.truncation_curve({"rnn": ([1, 8, 64], [1.2, 0.4, 0.1])})
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [(1, 1.2), (8, 0.4), (64, 0.1)])
    assert ax.get_ylim()[0] == 0


def test_positions_stand_side_by_side_in_one_scale_with_their_norms():
    blocks = np.arange(24.0).reshape(2, 3, 4) - 12
    ax = plot.position_weights(blocks)
    for image, block in zip(ax.images, blocks, strict=True):
        np.testing.assert_array_equal(image.get_array(), block.T)
    assert ax.images[0].get_clim() == ax.images[1].get_clim()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["$x_{t-1}$", "$x_t$"]
    norms = [f"{np.linalg.norm(block):.3g}" for block in blocks]
    assert [text.get_text().split()[-1] for text in ax.texts] == norms
    assert plot.position_weights(np.zeros((1, 2, 2))).images[0].get_clim() == (-1, 1)
