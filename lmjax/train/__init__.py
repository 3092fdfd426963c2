"""Training: one step, the loop around it, checkpoints, runs on disk."""

from lmjax.train.loop import History, Progress, Run, fit
from lmjax.train.run import Model, Trained, build, describe, load_run
from lmjax.train.step import Metrics, TrainState, optimizer, start, step

__all__ = [
    "History",
    "Metrics",
    "Model",
    "Progress",
    "Run",
    "TrainState",
    "Trained",
    "build",
    "describe",
    "fit",
    "load_run",
    "optimizer",
    "start",
    "step",
]
