"""Training: one step, the loop around it, its memory, checkpoints, runs on disk."""

from lmjax.train.adagrad import features_by_adagrad
from lmjax.train.average import Averaging
from lmjax.train.course import BEST, LAST, Progress, load_history
from lmjax.train.history import History, learning_curve
from lmjax.train.job import Run
from lmjax.train.loop import fit, steps_per_epoch
from lmjax.train.memory import keep_memory
from lmjax.train.recipes import RECIPES, Recipe, Training, plan
from lmjax.train.run import Model, Trained, build, check_same, describe, links_of, load_run
from lmjax.train.step import Metrics, TrainState, init_params, init_state, optimizer, step
from lmjax.train.translation import fit_translator, pair_perplexity
from lmjax.train.translation_run import (
    TrainedTranslator,
    TranslatorModel,
    TranslatorTraining,
    build_translator,
    load_translator,
)

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
    "TrainedTranslator",
    "Training",
    "TranslatorModel",
    "TranslatorTraining",
    "build",
    "build_translator",
    "check_same",
    "describe",
    "features_by_adagrad",
    "fit",
    "fit_translator",
    "init_params",
    "init_state",
    "keep_memory",
    "learning_curve",
    "links_of",
    "load_history",
    "load_run",
    "load_translator",
    "optimizer",
    "pair_perplexity",
    "plan",
    "step",
    "steps_per_epoch",
]
