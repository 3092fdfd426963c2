"""A page says one number for one quantity, and says it in HTML and JSON that are complete."""

import json
import re

import jax
import numpy as np
import pytest

from lmjax import analysis, cells, models, report
from lmjax.report.flow import by_lag, contributions, gradient_maps, jacobians
from lmjax.report.page import power
from lmjax.report.subject import reading
from lmjax.report.weights import eigenvalues
from lmjax.train import History

VOCAB, N = 11, 6
IDS = np.random.default_rng(0).integers(0, VOCAB, 180)


def subject(name, cell, scale=1.0, **past):
    lm = models.recurrent(cell, vocab_size=VOCAB)
    params = jax.tree.map(lambda x: scale * x, lm.init(jax.random.key(0)))
    return report.Subject(name, lm, params, lm.init(jax.random.key(1)), **past)


def test_the_gradient_left_at_a_lag_is_the_median_of_the_maps_diagonal():
    """One definition: the map, whole, holds the number that the section about lags states."""
    two = [subject("rnn", cells.rnn(N, N)), subject("lstm", cells.lstm(N, N))]
    numbers = {s.name: {} for s in two}
    finding = by_lag(two, IDS, numbers).finding
    for s in two:
        flow = analysis.state_gradient_map(*reading(s, IDS))
        diagonal = np.diagonal(np.asarray(flow.log_relative), -100)
        left = np.quantile(diagonal, 0.5, method="inverted_cdf")
        (stated,) = numbers[s.name]["log_loss_gradient_at_lag"].values()
        assert stated == pytest.approx(left, rel=1e-5)
        assert f"{s.name} {power(left)}" in finding


@pytest.mark.parametrize(
    "cell, names",
    [
        (cells.rnn(N, N), ["W_h"]),
        (cells.lstm(N, N), ["W_i", "W_f", "W_g", "W_o"]),
        (cells.gru(N, N), ["W_z", "W_r", "W_h~"]),
        (
            cells.stack(cells.rnn(N, N), cells.gru(N, N)),
            ["0.W_h", "1.W_z", "1.W_r", "1.W_h~"],
        ),
        (cells.lstm(N, N)._replace(gates=None), ["W_1", "W_2", "W_3", "W_4"]),
    ],
)
def test_eigenvalues_have_a_panel_a_gate(cell, names):
    numbers = {"it": {}}
    section = eigenvalues([subject("it", cell)], IDS, numbers)
    assert [caption for caption, _ in section.figures] == [f"it, {name}" for name in names]
    assert list(numbers["it"]["spectral_radius_after"]) == names


def test_numbers_that_are_not_finite_are_null_in_json(tmp_path):
    past = {"history": History([8, 16], [np.nan] * 2, [1.0, np.inf], [(16, np.nan)])}
    diverged = subject("diverged", cells.lstm(N, N), np.nan, max_norm=1.0, **past)
    sections, numbers = report.diagnose([diverged], IDS[:102])
    assert len({s.title for s in sections}) == len(sections)
    assert all(s.finding and s.text and s.figures for s in sections)
    place = report.write(tmp_path / "new", report.page("t", "l", sections), numbers)
    found = json.loads((tmp_path / "new" / "report.json").read_text("utf-8"))
    assert found["diverged"]["valid_perplexity"] is None and place.is_file()
    with pytest.raises(ValueError, match="JSON"):
        report.write(tmp_path, "", {"x": float("nan")})


def test_a_cell_without_recurrent_matrix_has_no_section_about_it():
    of = [subject("d", cells.mingru(N, N))], IDS, {"d": {}}
    assert eigenvalues(*of) is None and contributions(*of) is None


def test_gradients_that_are_exactly_zero_are_drawn_and_said():
    of = [subject("dead", cells.rnn(N, N, activation=jax.nn.relu), 0.0)], IDS, {"dead": {}}
    for section in (jacobians, gradient_maps, by_lag):
        assert "dead 0" in section(*of).finding
    assert json.loads(json.dumps(of[2], allow_nan=False))


def test_the_comparison_splits_the_perplexity_by_what_was_seen():
    rng = np.random.default_rng(1)
    seen = rng.random(50) < 0.3
    logp = {name: np.log(rng.random(50)) for name in ("net", "kn", "net + kn")}
    score = {name: float(np.exp(-values.mean())) for name, values in logp.items()}
    weights = {"net": 0.4, "kn": 0.6}
    section, split = report.comparison(score | {"unigram": 99.0}, logp, seen, weights, 1000)
    for name, value in score.items():
        parts = np.log([split["seen"][name], split["not seen"][name]])
        assert np.log(value) == pytest.approx(parts @ [seen.mean(), 1 - seen.mean()])
    assert [row[0] for row in section.table[1:-1]] == sorted(score, key=score.get)
    section, split = report.comparison(score, logp, np.zeros(50, bool), weights, 1000)
    assert list(split) == ["not seen"] and len(section.table[0]) == 3


def test_text_is_escaped_and_indices_stand_below_the_line():
    section = report.Section("h_t", "c_{t-1} < λ_i", "gru_reset_after", quotes=(("q", "<b>x_y"),))
    html = report.page("t", "batch_size:1", [section])
    assert "h<sub>t</sub>" in html and "c<sub>t-1</sub> &lt; λ<sub>i</sub>" in html
    assert "gru_reset_after" in html and "batch_size:1" in html and "&lt;b&gt;x_y" in html
    assert not re.search(r"<(b|script)>", html)
