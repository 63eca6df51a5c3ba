"""The balancers by name, and how one is built from its options."""

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor

from mtl.balancing.method import Method
from mtl.balancing.methods.aligned_mtl import AlignedMTL
from mtl.balancing.methods.cagrad import CAGrad
from mtl.balancing.methods.config import ConFIG
from mtl.balancing.methods.cosmos import COSMOS
from mtl.balancing.methods.db_mtl import DBMTL
from mtl.balancing.methods.dualproj import DualProj
from mtl.balancing.methods.dwa import DWA
from mtl.balancing.methods.equal import Equal
from mtl.balancing.methods.excess_mtl import ExcessMTL
from mtl.balancing.methods.fairgrad import FairGrad
from mtl.balancing.methods.famo import FAMO
from mtl.balancing.methods.geometric_mean import GeometricMean
from mtl.balancing.methods.graddrop import GradDrop
from mtl.balancing.methods.gradnorm import GradNorm
from mtl.balancing.methods.gradvac import GradVac
from mtl.balancing.methods.imtl_g import IMTLG
from mtl.balancing.methods.imtl_l import IMTLL
from mtl.balancing.methods.krum import Krum
from mtl.balancing.methods.mgda import MGDA
from mtl.balancing.methods.moco import MoCo
from mtl.balancing.methods.modo import MoDo
from mtl.balancing.methods.nash_mtl import NashMTL
from mtl.balancing.methods.own import Own
from mtl.balancing.methods.pbi import PBI
from mtl.balancing.methods.pcgrad import PCGrad
from mtl.balancing.methods.random import Random
from mtl.balancing.methods.scale_invariant import ScaleInvariant
from mtl.balancing.methods.sdmgrad import SDMGrad
from mtl.balancing.methods.static import Static
from mtl.balancing.methods.stch import STCH
from mtl.balancing.methods.trimmed_mean import TrimmedMean
from mtl.balancing.methods.uncertainty import Uncertainty
from mtl.balancing.methods.upgrad import UPGrad
from mtl.names import lookup, unknown

BALANCERS: dict[str, type[Method]] = {
    # one backward pass
    "equal": Equal,
    "static": Static,
    "scale_invariant": ScaleInvariant,
    "geometric_mean": GeometricMean,
    "random": Random,
    "uncertainty": Uncertainty,
    "imtl_l": IMTLL,
    "dwa": DWA,
    "stch": STCH,
    "famo": FAMO,
    "cosmos": COSMOS,
    "pbi": PBI,
    # one a task through the trunk
    "mgda": MGDA,
    "pcgrad": PCGrad,
    "gradvac": GradVac,
    "cagrad": CAGrad,
    "imtl_g": IMTLG,
    "nash_mtl": NashMTL,
    "aligned_mtl": AlignedMTL,
    "fairgrad": FairGrad,
    "upgrad": UPGrad,
    "dualproj": DualProj,
    "gradnorm": GradNorm,
    "config": ConFIG,
    "krum": Krum,
    # and a matrix of all gradients to work on
    "sdmgrad": SDMGrad,
    "graddrop": GradDrop,
    "moco": MoCo,
    "modo": MoDo,
    "db_mtl": DBMTL,
    "excess_mtl": ExcessMTL,
    "trimmed_mean": TrimmedMean,
}


def build(method: str | Method | Callable[[Tensor], Tensor], options: dict[str, Any]) -> Method:
    """The method of that name with these options; a method as it is; a function as a method.

    >>> build("uncertainty", {"lr": 0.1})
    Uncertainty(lr=0.1)
    """
    if not isinstance(method, str):
        if isinstance(method, type) or not (isinstance(method, Method) or callable(method)):
            raise TypeError(f"a balancer is a name, a function [T, P] -> [P], or a Method; got {method!r}")
        if options:
            raise ValueError(
                f"options {list(options)} go with a method's name; set them on the object that you give"
            )
        return method if isinstance(method, Method) else Own(function=method)
    kind = lookup("balancer", method, BALANCERS)
    known = [field.name for field in dataclasses.fields(kind)]
    for option in options:
        if option not in known:
            raise unknown(f"option of balancer '{method}'", option, known or ["(none)"])
    return kind(**options)
