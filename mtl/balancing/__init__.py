"""Balancing methods by name: gradients of several tasks in, one direction out."""

from mtl.balancing.balancer import Balancer
from mtl.balancing.combine import combine
from mtl.balancing.fork import fork
from mtl.balancing.last import Last
from mtl.balancing.method import Answer, Given, Method
from mtl.balancing.registry import BALANCERS

__all__ = ["BALANCERS", "Answer", "Balancer", "Given", "Last", "Method", "combine", "fork"]
