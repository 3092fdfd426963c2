"""Training: one step, the loop around it, its memory, checkpoints, runs on disk."""

from lmjax.train.adagrad import features_by_adagrad
from lmjax.train.average import Averaging
from lmjax.train.course import BEST, LAST, Progress, load_history
from lmjax.train.history import History, learning_curve
from lmjax.train.loop import Run, fit, steps_per_epoch
from lmjax.train.memory import keep_memory
from lmjax.train.recipes import RECIPES, Recipe, Training, plan
from lmjax.train.run import Model, Trained, build, check_same, describe, links_of, load_run
from lmjax.train.step import Metrics, TrainState, init_params, init_state, optimizer, step

__all__ = [
    "BEST",
    "LAST",
    "RECIPES",
    "Averaging",
    "History",
    "Metrics",
    "Model",
    "Progress",
    "Recipe",
    "Run",
    "TrainState",
    "Trained",
    "Training",
    "build",
    "check_same",
    "describe",
    "features_by_adagrad",
    "fit",
    "init_params",
    "init_state",
    "keep_memory",
    "learning_curve",
    "links_of",
    "load_history",
    "load_run",
    "optimizer",
    "plan",
    "step",
    "steps_per_epoch",
]
