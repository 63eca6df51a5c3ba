"""Saliency and attribution for one task or all tasks at once, and the evaluation of attributions."""

from explain.between import Conflict, channel_sharing, conflict, contrast, cross_deletion, overlap
from explain.evaluate import evaluate
from explain.methods import METHODS
from explain.metrics import METRICS
from explain.saliency import saliency
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
    "evaluate",
    "overlap",
    "saliency",
    "show",
    "show_matrix",
]
