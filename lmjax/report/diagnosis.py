"""All that is asked of trained models: how they learned, what W_h is, how gradients flow."""

import numpy as np

from lmjax.report.flow import by_lag, contributions, gradient_maps, jacobians, truncation
from lmjax.report.learning import clipping, curves
from lmjax.report.page import Section
from lmjax.report.subject import LAG, Subject
from lmjax.report.weights import eigenvalues, gates

__all__ = ["diagnose"]


def diagnose(subjects: list[Subject], ids: np.ndarray) -> tuple[list[Section], dict]:
    """Study how gradients flow through trained models, on one sequence of text.

    Args:
        subjects: the models, over one vocabulary.
        ids: int `[N]`, the text they read, at least `LAG` + 2 tokens; the first few hundred are
            used.

    Returns:
        The sections of a page, and the numbers its sentences state, by model; None for a number
        that is not finite.

    Raises:
        ValueError: the text is too short.
    """
    if len(ids) < LAG + 2:
        raise ValueError(f"diagnose: at least {LAG + 2} tokens of text are needed, got {len(ids)}")
    numbers: dict[str, dict] = {subject.name: {} for subject in subjects}
    of_text = (eigenvalues, jacobians, gradient_maps, by_lag, contributions, truncation, gates)
    sections = [section(subjects, numbers) for section in (curves, clipping)]
    sections += [section(subjects, ids, numbers) for section in of_text]
    return [section for section in sections if section is not None], numbers
