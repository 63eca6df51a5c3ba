"""Saliency and attribution for one task or all tasks at once, and the evaluation of attributions."""

from explain.evaluate import evaluate
from explain.methods import METHODS
from explain.metrics import METRICS
from explain.saliency import saliency
from explain.sanity import data_randomisation, randomisation_curve, sanity
from explain.show import show
from explain.targets import Region

__all__ = [
    "METHODS",
    "METRICS",
    "Region",
    "data_randomisation",
    "evaluate",
    "randomisation_curve",
    "saliency",
    "sanity",
    "show",
]
