"""How gradients flow back through time, from every loss to every state."""

# ruff: noqa: RUF001   the symbols of the axes

import jax.numpy as jnp
import numpy as np

import lmjax.analysis as analysis
import lmjax.plot as plot
from lmjax.cell import recurrent_weights
from lmjax.report.page import Section, power
from lmjax.report.subject import LAG, reading
from lmjax.tree import finite

__all__ = ["by_lag", "contributions", "gradient_maps", "jacobians", "truncation"]

STARTS = 8  # of products of Jacobians
LOSSES = 8 * LAG  # that are followed back
RECENT = 10  # steps
KS = (1, 2, 5, 10, 20, 50, LAG)  # steps of truncation


def jacobians(subjects, ids, numbers) -> Section:
    """Show the norm of ds_i/ds_j, the product of the steps' Jacobians, against the lag."""
    profiles, left = {}, {}
    for subject in subjects:
        cell, params, state, xs, *_ = reading(subject, ids[: LAG + 8 * STARTS + 1])
        steps = analysis.step_jacobians(cell, params, state, xs)
        starts = np.linspace(0, len(xs) - LAG, STARTS).astype(int)
        norms = analysis.jacobian_product_norms(steps, starts=starts, max_lag=LAG)
        profiles[subject.name] = np.asarray(norms.log, float)
        left[subject.name] = _median(profiles[subject.name][:, LAG])
        numbers[subject.name]["log_jacobian_norm_at_lag"] = {str(LAG): finite(left[subject.name])}
    axes = plot.lag_profiles(profiles, ylabel=r"$\|\partial s_i/\partial s_j\|_F$")
    return Section(
        "‖∂s_i/∂s_j‖_F against the lag ℓ = i − j",
        f"What is left at ℓ = {LAG}: {_ranked(left)}.",
        "How much of a change of the state at step j is left at step i: the Frobenius norm of the "
        f"product of the steps' Jacobians, median and bands of {STARTS} starts j. "
        "The state s is h of a vanilla cell, h and c of an LSTM.",
        (("", plot.data_uri(axes)),),
    )


def gradient_maps(subjects, ids, numbers) -> Section:
    """Show the gradient of every loss at every state before it, all models in the same colours."""
    maps = {
        subject.name: np.asarray(
            analysis.state_gradient_map(*reading(subject, ids[: LAG + 1])).log_norm, float
        )
        for subject in subjects
    }
    causal = {name: log[np.tri(LAG, dtype=bool)] for name, log in maps.items()}
    faintest = {name: float(log.min()) for name, log in causal.items()}
    for name, log in faintest.items():
        numbers[name]["log_faintest_loss_gradient"] = finite(log)
    shown = np.concatenate(list(causal.values()))
    shown = shown[np.isfinite(shown)]
    limits = (shown.min(), shown.max()) if len(shown) else None
    label = r"$\|\partial J_i/\partial s_j\|$"
    figures = tuple(
        (name, plot.data_uri(plot.gradient_map(log, limits=limits, label=label)))
        for name, log in maps.items()
    )
    return Section(
        "‖∂J_i/∂s_j‖ for every loss i and state j",
        f"The faintest gradient of {LAG} losses: {_ranked(faintest)}.",
        "A row shows how far back the loss of one word reaches. Rows alike: the gradient falls "
        "with the lag alone. A vertical edge: a word at which the cell forgets what came before, "
        "such as the end of a line. The colours are the same in all maps; blank is exactly 0.",
        figures,
    )


def by_lag(subjects, ids, numbers) -> Section:
    """Show the same gradients against the lag, relative to those at the loss's own state."""
    profiles, left = {}, {}
    for subject in subjects:
        run = reading(subject, ids[: LOSSES + 1])
        band = analysis.state_gradient_band(*run, max_lag=LAG)
        profiles[subject.name] = np.asarray(band.log_relative, float)
        left[subject.name] = [_median(column) for column in profiles[subject.name].T]
        numbers[subject.name]["log_loss_gradient_at_lag"] = {
            str(LAG): finite(left[subject.name][LAG])
        }
    axes = plot.lag_profiles(
        profiles, ylabel=r"$\|\partial J_i/\partial s_j\| \,/\, \|\partial J_i/\partial s_i\|$"
    )
    at_end = {name: profile[LAG] for name, profile in left.items()}
    return Section(
        "‖∂J_i/∂s_j‖ / ‖∂J_i/∂s_i‖ against the lag ℓ = i − j",
        f"What is left at ℓ = {LAG}: {_ranked(at_end)}.{_crossing(left)}",
        "The gradient of the maps by lag, as a part of what it is at the loss's own state: median "
        f"and bands of the losses of {len(profiles[subjects[0].name])} words. Where it falls "
        "faster than ‖∂s_i/∂s_j‖_F, the losses do not read what the state still holds.",
        (("", plot.data_uri(axes)),),
    )


def _median(logs) -> float:
    """Return the median that the figures draw: one of the values, of those that are there."""
    there = logs[~np.isnan(logs)]
    return float(np.quantile(there, 0.5, method="inverted_cdf")) if len(there) else np.nan


def _crossing(profiles) -> str:
    """Say up to which lag another of two models had more left than the one that has in the end."""
    if len(profiles) != 2:
        return ""
    first, second = sorted(profiles, key=lambda name: -profiles[name][LAG])
    behind = np.flatnonzero(np.less(profiles[first], profiles[second]))
    return f" Up to ℓ = {behind[-1]} {second} has more left." if len(behind) else ""


def contributions(subjects, ids, numbers) -> Section | None:
    """Show each step's share of the last loss's gradient with respect to W_h."""
    last, drawn, recent = jnp.zeros(LAG).at[-1].set(1), [], {}
    for subject in subjects:
        shares = analysis.bptt_contributions(*reading(subject, ids[: LAG + 1], last)).shares
        for name, share in list(recurrent_weights(shares).items())[-1:]:  # a stack's top layer
            recent[subject.name] = float(np.sum(share[-RECENT:]))
            numbers[subject.name][f"share_of_last_{RECENT}_steps"] = finite(recent[subject.name])
            ylabel = rf"share of $\partial J_{{{LAG}}}/\partial W_h|_{{(t)}}$"
            prefix = name.removesuffix("w_h")
            axes = plot.contribution_bars(share, ylabel=ylabel)
            drawn.append((subject.name + (f", {prefix}W_h" if prefix else ""), axes))
    if not drawn:
        return None
    limits = np.array([axes.get_ylim() for _, axes in drawn])
    for _, axes in drawn:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    said = ", ".join(f"{name} {share:.0%}" for name, share in recent.items())
    return Section(
        f"Share of ∂J_{{{LAG}}}/∂W_h|_{{(t)}} of the last loss, step by step",
        f"The last {RECENT} of {LAG} steps make up: {said}.",
        "Backpropagation through time: the gradient of the last loss, the maps' last row, is a sum "
        "over steps, and the shares add up to 1. A step whose bar cannot be seen hardly changes "
        "W_h.",
        tuple((name, plot.data_uri(axes)) for name, axes in drawn),
    )


def truncation(subjects, ids, numbers) -> Section:
    """Show what truncated backpropagation misses of the whole gradient."""
    curves, said = {}, []
    for subject in subjects:
        run = reading(subject, ids[: LAG + 1])
        bias = np.asarray(analysis.truncation_bias(*run, KS).relative_bias, float)
        curves[subject.name] = KS, bias
        numbers[subject.name]["truncation_bias"] = {
            str(k): finite(b) for k, b in zip(KS, bias, strict=True)
        }
        said.append(f"{subject.name} {bias[KS.index(RECENT)]:.1%}")
    return Section(
        "‖g_k − G‖ / ‖G‖ against the steps back k",
        f"Gradients that flow back {RECENT} steps only are wrong by: {', '.join(said)}.",
        f"G is the whole gradient of the {LAG} losses, g_k the one of truncated backpropagation, "
        "in which a loss reaches back k steps.",
        (("", plot.data_uri(plot.truncation_curve(curves))),),
    )


def _ranked(logs) -> str:
    return ", ".join(f"{name} {power(logs[name])}" for name in sorted(logs, key=lambda n: -logs[n]))
