"""One self-contained page of figures about trained models, a sentence and its numbers with each."""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import lmjax.analysis as analysis
import lmjax.plot as plot
from lmjax.cell import recurrent_weights
from lmjax.models import LanguageModel
from lmjax.train import History, learning_curve

__all__ = ["Section", "Subject", "diagnose", "page"]

LAG = 100  # largest lag of the profiles
STARTS = 8  # starts of a lag profile; sequences of a loss-gradient profile


class Subject(NamedTuple):
    """A model under study, with its past where it is known."""

    name: str
    lm: LanguageModel
    params: Any
    before: Any = None  # parameters before training
    history: History | None = None
    max_norm: float | None = None  # clipping threshold of the training


class Section(NamedTuple):
    """A part of a page."""

    title: str
    text: str
    figures: tuple[str, ...] = ()  # data URIs
    quotes: tuple[tuple[str, str], ...] = ()  # (caption, text as it is)


def diagnose(subjects: list[Subject], ids: np.ndarray) -> tuple[list[Section], dict]:
    """Study how gradients flow through trained models, on one sequence of text.

    Args:
        subjects: the models, over one vocabulary.
        ids: int `[N]`, the text they read, at least `LAG` + 2 tokens; the first few hundred are
            used.

    Returns:
        The sections of a page, and the numbers its sentences state, by model.

    Raises:
        ValueError: the text is too short.
    """
    if len(ids) < LAG + 2:
        raise ValueError(f"diagnose: at least {LAG + 2} tokens of text are needed, got {len(ids)}")
    numbers: dict[str, dict] = {subject.name: {} for subject in subjects}
    sections = [_training(subjects, numbers), _clipping(subjects, numbers)]
    sections += [
        _spectrum(subjects, numbers),
        _lags(subjects, ids, numbers),
        _profile(subjects, ids, numbers),
    ]
    sections += [
        _map(subjects, ids, numbers),
        _contributions(subjects, ids, numbers),
        _truncation(subjects, ids, numbers),
        _gates(subjects, ids, numbers),
    ]
    return [section for section in sections if section is not None], numbers


def _training(subjects, numbers) -> Section | None:
    curves = {}
    for name, *_, history, _ in (s for s in subjects if s.history):
        curves[name] = learning_curve(history)
        numbers[name]["valid_perplexity"] = min(valid for _, valid in history.valid)
    if not curves:
        return None
    best = ", ".join(f"{name} {numbers[name]['valid_perplexity']:.1f}" for name in curves)
    text = (
        "Perplexity falls as tokens are read (training: a running mean). "
        f"Best on the validation text: {best}."
    )
    return Section("Learning curves", text, (plot.data_uri(plot.learning_curves(curves)),))


def _clipping(subjects, numbers) -> Section | None:
    figures, said = [], []
    for name, *_, history, max_norm in (s for s in subjects if s.history and s.max_norm):
        norms = np.array(history.norm)
        share = float(np.mean(norms > max_norm))
        numbers[name] |= {"clipped": share, "largest_norm": float(norms.max())}
        said.append(f"{name} {share:.1%} of {len(norms)} steps, largest norm {norms.max():.3g}")
        figures.append(_titled(plot.clip_timeline(norms, max_norm), name))
    if not figures:
        return None
    text = (
        "A gradient above the threshold keeps its direction and is scaled down to it. Clipped: "
        + "; ".join(said)
    )
    return Section("Clip timeline", text + ".", tuple(figures))


def _spectrum(subjects, numbers) -> Section | None:
    figures, said = [], []
    for subject in subjects:
        spectra = {}
        for when, params in (("before", subject.before), ("after", subject.params)):
            if params is not None and (weights := recurrent_weights(params.cell)):
                found = [analysis.recurrent_spectrum(w) for w in weights.values()]
                spectra[when] = np.concatenate([np.ravel(s.eigenvalues) for s in found])
                numbers[subject.name][f"spectral_radius_{when}"] = float(
                    np.abs(spectra[when]).max()
                )
        if spectra:
            radii = " to ".join(f"{np.abs(values).max():.2f}" for values in spectra.values())
            said.append(f"{subject.name} {radii}")
            figures.append(_titled(plot.eigenvalues(spectra), subject.name))
    if not figures:
        return None
    text = (
        "Were the cell linear, a gradient l steps back would go with the l-th power of these "
        "numbers: inside the unit circle it vanishes, outside it explodes. A gated cell has one "
        "matrix a gate, all of them shown. "
        f"Spectral radius, before to after training: {'; '.join(said)}."
    )
    return Section("Eigenvalues of W_h", text, tuple(figures))


def _lags(subjects, ids, numbers) -> Section:
    profiles, said = {}, []
    for name, lm, params, *_ in subjects:
        xs = lm.embed(params.embed, jnp.asarray(ids[: LAG + STARTS * 8]))
        jacobians = analysis.step_jacobians(
            lm.cell, params.cell, lm.cell.initial_state(params.cell), xs
        )
        starts = np.linspace(0, len(xs) - LAG, STARTS).astype(int)
        norms = analysis.jacobian_product_norms(jacobians, starts=starts, max_lag=LAG)
        profiles[name] = np.asarray(norms.log)
        halfway = np.median(profiles[name][:, LAG // 2])
        numbers[name]["log_jacobian_norm_at_lag"] = {str(LAG // 2): float(halfway)}
        said.append(f"{name} 10^{halfway / np.log(10):.1f}")
    text = (
        "How much of a change of the state at step j is left in the state at step i = j + l: "
        "Frobenius norm of the product of the steps' Jacobians, median and bands over "
        f"{STARTS} starts. At lag {LAG // 2}: "
        f"{'; '.join(said)}."
    )
    axes = plot.lag_profiles(profiles, ylabel=r"$\|\partial s_i/\partial s_j\|_F$")
    return Section("Norm of dh_i/dh_j against lag", text, (plot.data_uri(axes),))


def _profile(subjects, ids, numbers) -> Section:
    profiles, said = {}, []
    length = min(LAG, (len(ids) - 1) // STARTS)
    tokens = np.asarray(ids[: length * STARTS + 1])
    inputs, targets = (jnp.asarray(t.reshape(STARTS, length).T) for t in (tokens[:-1], tokens[1:]))
    last = jnp.zeros(length).at[-1].set(1)
    for name, lm, params, *_ in subjects:
        loss = _loss(lm, params)
        state = lm.cell.initial_state(params.cell, (STARTS,))
        xs = lm.embed(params.embed, inputs)
        flow = analysis.state_gradients(lm.cell, params.cell, state, xs, loss, (targets, last))
        profiles[name] = np.median(flow.log_total, axis=1)
        back = min(20, length - 1)
        ratio = float(profiles[name][-1 - back] - profiles[name][-1])
        numbers[name]["log_loss_gradient_ratio"] = {str(back): ratio}
        said.append(f"{name} {np.exp(ratio):.2g}")
    text = (
        "How much the loss of the last step, J^(T), would change with the state of each earlier "
        f"step: median over {STARTS} sequences of {length} tokens. {back} steps back it is this "
        "part of what it is at the last step: "
        f"{'; '.join(said)}."
    )
    axes = plot.state_gradients(profiles, ylabel=r"$\|\partial J^{(T)}/\partial s_t\|$")
    return Section("The gradient of the loss, step by step", text, (plot.data_uri(axes),))


def _loss(lm, params):
    """The loss of a step as analysis takes it; `(target, weight)` stand for y."""

    def loss(cell_params, state, y):
        target, weight = y
        return -weight * lm.head.log_prob(params, lm.cell.read(cell_params, state), target)

    return loss


def _reading(subject, ids, weight=1.0):
    """One sequence of `LAG` tokens as analysis takes it: `(cell, params, state, xs, loss, ys)`."""
    _, lm, params, *_ = subject
    xs, targets = lm.embed(params.embed, jnp.asarray(ids[:LAG])), jnp.asarray(ids[1 : LAG + 1])
    state = lm.cell.initial_state(params.cell)
    return (
        lm.cell,
        params.cell,
        state,
        xs,
        _loss(lm, params),
        (targets, jnp.broadcast_to(weight, LAG)),
    )


def _map(subjects, ids, numbers) -> Section:
    figures, said = [], []
    for subject in subjects:
        flow = analysis.state_gradient_map(*_reading(subject, ids))
        back = np.diagonal(flow.log_relative, -20)
        share = float(np.exp(np.median(back)))
        numbers[subject.name]["loss_gradient_20_back"] = share
        said.append(f"{subject.name} {share:.2g}")
        figures.append(
            _titled(
                plot.gradient_map(flow.log_norm, label=r"$\|\partial J_i/\partial s_j\|$"),
                subject.name,
            )
        )
    text = (
        "Every loss i against every state j before it. Along a row one sees how far back a single "
        "word's loss reaches. Median over all losses of what is left 20 steps back, relative to "
        f"the loss's own step: {'; '.join(said)}."
    )
    return Section("From every loss to every state", text, tuple(figures))


def _contributions(subjects, ids, numbers) -> Section | None:
    figures, said = [], []
    last = jnp.zeros(LAG).at[-1].set(1)
    for subject in subjects:
        shares = analysis.bptt_contributions(*_reading(subject, ids, last)).shares
        # of a stack, the top layer
        for name, share in list(recurrent_weights(shares).items())[-1:]:
            recent = float(np.sum(share[-10:]))
            numbers[subject.name]["share_of_last_10_steps"] = recent
            said.append(f"{subject.name} {recent:.0%}")
            figures.append(_titled(plot.contribution_bars(share), f"{subject.name}, {name}"))
    if not figures:
        return None
    text = (
        "The gradient of the last loss with respect to W_h is a sum over steps; each bar is one "
        "step's share, and they sum to 1. "
        f"The last ten of {LAG} steps account for: {'; '.join(said)}."
    )
    return Section("Backpropagation through time, laid open", text, tuple(figures))


def _truncation(subjects, ids, numbers) -> Section:
    ks, curves, said = (1, 2, 5, 10, 20, 50, LAG), {}, []
    for subject in subjects:
        bias = np.asarray(analysis.truncation_bias(*_reading(subject, ids), ks).relative_bias)
        curves[subject.name] = ks, bias
        numbers[subject.name]["truncation_bias"] = dict(
            zip(map(str, ks), bias.tolist(), strict=True)
        )
        said.append(f"{subject.name} {bias[ks.index(10)]:.1%}")
    text = (
        "Were gradients to flow back k steps only, this part of the whole gradient of these "
        f"{LAG} tokens would be missing. With k = 10: {'; '.join(said)}."
    )
    return Section("What truncation misses", text, (plot.data_uri(plot.truncation_curve(curves)),))


def _gates(subjects, ids, numbers) -> Section | None:
    figures, said = [], []
    for subject in subjects:
        if not any(cell.gates for cell in (subject.lm.cell, *subject.lm.cell.layers)):
            continue
        values = analysis.gate_values(*_reading(subject, ids)[:4])
        saturation = {name: analysis.gate_saturation(gate) for name, gate in values.items()}
        figures.append(_titled(plot.gate_scatter(saturation), subject.name))
        for name, gate in values.items():
            if name.rpartition(".")[2] == "f":
                tau = np.asarray(analysis.time_constants(gate))
                numbers[subject.name][f"median_time_constant_{name}"] = float(np.median(tau))
                said.append(f"{subject.name} {name} {np.median(tau):.1f} (longest {tau.max():.0f})")
    if not figures:
        return None
    text = (
        "A gate unit at the upper left is nearly always open, at the lower right nearly always "
        "shut. Steps after which "
        f"the forget gates leave 1/e of a cell, median over units: {'; '.join(said)}."
    )
    return Section("Gates", text, tuple(figures))


def _titled(axes, title) -> str:
    axes.set_title(title, loc="right")
    return plot.data_uri(axes)


def page(title: str, lead: str, sections: list[Section]) -> str:
    """Return a complete HTML page; every text is escaped, every figure is inside."""
    parts = []
    for section in sections:
        figures = "".join(
            f'<img src="{uri}" alt="{escape(section.title)}">' for uri in section.figures
        )
        quotes = "".join(
            f"<figure><figcaption>{escape(c)}</figcaption><pre>{escape(t)}</pre></figure>"
            for c, t in section.quotes
        )
        parts.append(
            f"<section><h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>"
            f'<div class="figures">{figures}</div>{quotes}</section>'
        )
    return _PAGE.format(title=escape(title), lead=escape(lead), body="\n".join(parts))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,
initial-scale=1"> <title>{title}</title> <style> body {{ font: 16px/1.5 system-ui, sans-serif;
color: #222; background: #fff; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; }}
h1, h2 {{ line-height: 1.2; }} h2 {{ margin-top: 2.5rem; }} p {{ max-width: 46rem; }}
.figures {{ display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }}
img {{ max-width: 100%; height: auto; flex: 0 1 34rem; min-width: 0; }}
figure {{ margin: 1rem 0; }} figcaption {{ font-weight: 600; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f5f5; padding: 1rem;
font-size: 0.9rem; }} </style></head> <body><h1>{title}</h1><p>{lead}</p> {body} </body></html>
"""
