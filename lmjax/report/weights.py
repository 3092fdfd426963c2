"""What the recurrent matrices are, and what the gates do."""
# ruff: noqa: RUF001   the symbols of the axes

import jax
import numpy as np

import lmjax.analysis as analysis
import lmjax.plot as plot
from lmjax.cell import recurrent_weights
from lmjax.report.page import Section
from lmjax.report.subject import LAG, reading
from lmjax.tree import finite

__all__ = ["eigenvalues", "gates"]

BLOCKS = {frozenset("ifo"): ["i", "f", "g", "o"], frozenset("zrf"): ["z", "r", "h~"]}  # by gates


def eigenvalues(subjects, ids, numbers) -> Section | None:
    """Show the eigenvalues of W_h, each gate's by itself, before and after training."""
    figures, said = [], []
    for subject in subjects:
        named = _gate_names(subject, ids)
        spectra = {
            when: _spectra(params.cell, named)
            for when, params in (("before", subject.before), ("after", subject.params))
            if params is not None
        }
        radii = {
            when: {name: float(np.abs(values).max()) for name, values in found.items()}
            for when, found in spectra.items()
        }
        for when, found in radii.items():
            numbers[subject.name][f"spectral_radius_{when}"] = {
                name: finite(radius) for name, radius in found.items()
            }
        for name in spectra["after"]:
            drawn = {when: found[name] for when, found in spectra.items()}
            axes = plot.eigenvalues(drawn)
            figures.append((f"{subject.name}, {name}", plot.data_uri(axes)))
            said.append(
                f"{subject.name} {name} "
                + " to ".join(f"{found[name]:.2f}" for found in radii.values())
            )
    if not figures:
        return None
    return Section(
        "Eigenvalues λ_i of W_h",
        f"Largest |λ_i|, before to after training: {'; '.join(said)}.",
        "In a linear cell ∂h_i/∂h_j is a power of W_h: what lies inside the unit circle vanishes "
        "with the lag, what lies outside explodes. An activation and gates make every factor "
        "smaller, so that a radius ρ above 1 alone decides nothing; the next section does.",
        tuple(figures),
    )


def _spectra(params, named) -> dict[str, np.ndarray]:
    """Return the eigenvalues of every block of every recurrent matrix: W_h, or W_i, W_f, ..."""
    found: dict[str, np.ndarray] = {}
    for path, w in recurrent_weights(params).items():
        prefix = path.removesuffix("w_h")
        blocks = np.asarray(analysis.recurrent_spectrum(w).eigenvalues)
        numbered = ["h"] if len(blocks) == 1 else [str(k + 1) for k in range(len(blocks))]
        names = BLOCKS.get(frozenset(named.get(prefix, "")), numbered)
        names = names if len(names) == len(blocks) else numbered
        found |= {f"{prefix}W_{name}": b for name, b in zip(names, blocks, strict=True)}
    return found


def _gate_names(subject, ids) -> dict[str, set[str]]:
    """Return the names of the gates of a cell, or of each layer of a stack."""
    named: dict[str, set[str]] = {}
    if _gated(subject.lm.cell):
        run = reading(subject, ids[:2])
        gates = jax.eval_shape(lambda *arrays: analysis.gate_values(run[0], *arrays), *run[1:4])
        for name in gates:
            prefix = name[: len(name) - len(name.rpartition(".")[2])]
            named.setdefault(prefix, set()).add(name.removeprefix(prefix))
    return named


def _gated(cell) -> bool:
    return any(part.gates for part in (cell, *cell.layers))


def gates(subjects, ids, numbers) -> Section | None:
    """Show how often each gate is shut and open, and how long the forget gates keep a memory."""
    figures, said = [], []
    for subject in subjects:
        if not _gated(subject.lm.cell):
            continue
        values = analysis.gate_values(*reading(subject, ids[: LAG + 1])[:4])
        saturation = {name: analysis.gate_saturation(gate) for name, gate in values.items()}
        figures.append((subject.name, plot.data_uri(plot.gate_scatter(saturation))))
        for name, gate in values.items():
            if name.rpartition(".")[2] == "f":
                tau = np.asarray(analysis.time_constants(gate))
                numbers[subject.name][f"median_time_constant_{name}"] = finite(np.median(tau))
                numbers[subject.name][f"longest_time_constant_{name}"] = finite(tau.max())
                said.append(
                    f"{subject.name}, {name}: median {np.median(tau):.1f}, slowest {tau.max():.0f}"
                )
    if not figures:
        return None
    return Section(
        "Gates: share of steps shut and open",
        f"Steps until the forget gate of a unit leaves 1/e of a memory: {'; '.join(said)}.",
        "A unit at the upper left is nearly always open, at the lower right nearly always shut. "
        "Along the cell of an LSTM ∂c_t/∂c_{t-1} = f_t: what its slow units hold is what is left "
        "at long lags.",
        tuple(figures),
    )
