"""Saliency and attribution for one task or all tasks at once, and the evaluation of attributions."""

from explain.between import Conflict, channel_sharing, conflict, contrast, cross_deletion, overlap
from explain.concepts import tcav
from explain.contributions import contributions
from explain.evaluate import evaluate
from explain.influence.tracin import influence_scores, influential
from explain.layers.attribution import LAYER_METHODS, layer_attribution
from explain.layers.neuron_paths import neuron_conductance
from explain.layers.neurons import neuron_attribution
from explain.methods import METHODS
from explain.metrics import METRICS
from explain.saliency import saliency
from explain.sanity_checks import data_randomisation, randomisation_curve, sanity
from explain.show import show, show_matrix
from explain.targets import Region

__all__ = [
    "LAYER_METHODS",
    "METHODS",
    "METRICS",
    "Conflict",
    "Region",
    "channel_sharing",
    "conflict",
    "contrast",
    "contributions",
    "cross_deletion",
    "data_randomisation",
    "evaluate",
    "influence_scores",
    "influential",
    "layer_attribution",
    "neuron_attribution",
    "neuron_conductance",
    "overlap",
    "randomisation_curve",
    "saliency",
    "sanity",
    "show",
    "show_matrix",
    "tcav",
]
