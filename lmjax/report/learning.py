"""How a model learned: its perplexity, and the norms of its gradients."""

import numpy as np

import lmjax.plot as plot
from lmjax.report.page import Section
from lmjax.train import learning_curve
from lmjax.tree import finite

__all__ = ["clipping", "curves"]


def curves(subjects, numbers) -> Section | None:
    """Show the perplexity against the tokens seen."""
    found: dict[str, tuple] = {}
    best: dict[str, float] = {}
    for subject in subjects:
        if subject.history and subject.history.valid:
            found[subject.name] = learning_curve(subject.history)
            valid = [value for _, value in subject.history.valid if np.isfinite(value)]
            best[subject.name] = min(valid, default=np.nan)
            numbers[subject.name]["valid_perplexity"] = finite(best[subject.name])
    if not found:
        return None
    ranked = ", ".join(f"{name} {best[name]:.1f}" for name in sorted(best, key=best.__getitem__))
    return Section(
        "Perplexity exp J(θ) against tokens seen",
        f"Best on the validation text: {ranked}.",
        "Lower is better. A line is a running mean over the training text as it is read, with "
        "dropout; a marker is the validation text after an epoch.",
        (("", plot.data_uri(plot.learning_curves(found))),),
    )


def clipping(subjects, numbers) -> Section | None:
    """Show the norm of every gradient, and which were clipped."""
    shown = [s for s in subjects if s.history and s.history.norm and s.max_norm]
    if not shown:
        return None
    drawn, said = [], []
    for subject in shown:
        norms = np.array(subject.history.norm, float)
        largest = np.max(norms, initial=0, where=np.isfinite(norms))
        over = int(np.sum(norms > subject.max_norm))
        numbers[subject.name] |= {"clipped": over / len(norms), "largest_norm": float(largest)}
        said.append(f"{subject.name} at {over} of {len(norms)} steps, largest {largest:.3g}")
        drawn.append((subject.name, plot.clip_timeline(norms, subject.max_norm)))
    limits = np.array([axes.get_ylim() for _, axes in drawn])
    for _, axes in drawn:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    return Section(
        "‖g‖ before clipping",
        f"Clipped: {'; '.join(said)}.",
        "A gradient that explodes is longer than the threshold: it keeps its direction and is "
        "scaled down. The figures have one scale.",
        tuple((name, plot.data_uri(axes)) for name, axes in drawn),
    )
