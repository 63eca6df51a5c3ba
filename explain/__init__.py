"""Saliency and attribution for one task or all tasks at once, and the evaluation of attributions."""

from explain.between import contrast, overlap
from explain.evaluate import evaluate
from explain.methods import METHODS
from explain.metrics import METRICS
from explain.saliency import saliency
from explain.show import show
from explain.targets import Region

__all__ = ["METHODS", "METRICS", "Region", "contrast", "evaluate", "overlap", "saliency", "show"]
