"""Saliency and attribution for one task or all tasks at once, and the evaluation of attributions."""

from explain.between import Conflict, channel_sharing, conflict, contrast, cross_deletion, overlap
from explain.evaluate import evaluate
from explain.methods import METHODS
from explain.metrics import METRICS
from explain.saliency import saliency
from explain.sanity import data_randomisation, randomisation_curve, sanity
from explain.show import show, show_matrix
from explain.targets import Region

__all__ = [
    "METHODS",
    "METRICS",
    "Conflict",
    "Region",
    "channel_sharing",
    "conflict",
    "contrast",
    "cross_deletion",
    "data_randomisation",
    "evaluate",
    "overlap",
    "randomisation_curve",
    "saliency",
    "sanity",
    "show",
    "show_matrix",
]
