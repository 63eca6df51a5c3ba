"""Tasks, models with one shared backbone and many heads, balancing, data sets, training."""

from mtl.backbones import BACKBONES, backbone
from mtl.balancing import BALANCERS, Answer, Balancer, Given, Method, combine, fork
from mtl.conflict import Conflict, measure_conflict
from mtl.data import DATASETS, Splits, TaskData, dataset
from mtl.data.augment import random_shift
from mtl.data.mixture import mixture
from mtl.dense.pyramid import Pyramid
from mtl.dense.tasks import Boundary, Depth, Normals, Segmentation
from mtl.distributed.losses import Losses
from mtl.fusion import Fusion
from mtl.heads import HEADS, dense_head, linear_head, mlp_head
from mtl.model import MultiTaskModel
from mtl.piecewise import PiecewiseLinear, quantile_edges
from mtl.resolve import resolve
from mtl.tasks import Classification, MultiLabel, Regression, Task
from mtl.training.checkpoint import load_weights
from mtl.training.evaluate import evaluate
from mtl.training.fit import fit
from mtl.training.optimisation import OPTIMIZERS, SCHEDULES
from mtl.training.result import FitResult, Interrupted, Record, rows
from mtl.training.streams import seeded

__all__ = [
    "BACKBONES",
    "BALANCERS",
    "DATASETS",
    "HEADS",
    "OPTIMIZERS",
    "SCHEDULES",
    "Answer",
    "Balancer",
    "Boundary",
    "Classification",
    "Conflict",
    "Depth",
    "FitResult",
    "Fusion",
    "Given",
    "Interrupted",
    "Losses",
    "Method",
    "MultiLabel",
    "MultiTaskModel",
    "Normals",
    "PiecewiseLinear",
    "Pyramid",
    "Record",
    "Regression",
    "Segmentation",
    "Splits",
    "Task",
    "TaskData",
    "backbone",
    "combine",
    "dataset",
    "dense_head",
    "evaluate",
    "fit",
    "fork",
    "linear_head",
    "load_weights",
    "measure_conflict",
    "mixture",
    "mlp_head",
    "quantile_edges",
    "random_shift",
    "resolve",
    "rows",
    "seeded",
]
