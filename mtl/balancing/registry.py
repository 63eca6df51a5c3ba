"""The balancers by name, and how one is built from its options."""

import dataclasses
from typing import Any

from mtl.balancing.equal import Equal
from mtl.balancing.method import Method
from mtl.balancing.pcgrad import PCGrad
from mtl.balancing.uncertainty import Uncertainty
from mtl.balancing.upgrad import UPGrad
from mtl.names import lookup, unknown

BALANCERS: dict[str, type[Method]] = {
    "equal": Equal,
    "uncertainty": Uncertainty,
    "pcgrad": PCGrad,
    "upgrad": UPGrad,
}


def build(name: str, options: dict[str, Any]) -> Method:
    """The method of that name with these options.

    >>> build("uncertainty", {"lr": 0.1})
    Uncertainty(lr=0.1)
    """
    kind = lookup("balancer", name, BALANCERS)
    known = [field.name for field in dataclasses.fields(kind)]
    for option in options:
        if option not in known:
            raise unknown(f"option of balancer '{name}'", option, known or ["(none)"])
    return kind(**options)
