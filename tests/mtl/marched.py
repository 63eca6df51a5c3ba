"""The slow way to see a scene: walk along each ray in small steps until something is entered, then halve the step.

Shares no formula with the renderer: a point is inside an object or it is not, and a surface faces where three
neighbouring rays say that it does.
"""

import math

import numpy as np

from mtl.data.scenes.draw import BOX, SPHERE, K, Scene
from mtl.data.scenes.rays import FARTHEST, GROUND, SKY

STEP = 0.01  # metres of depth


class Walker:
    """One scene of a float64 `Scene`."""

    def __init__(self, scene: Scene, n: int) -> None:
        self.n = n
        self.up, self.height = scene.up[:, n].numpy(), float(scene.height[n])
        self.light = scene.light[:, n].numpy()
        self.tangent = float(scene.tangent[n])
        self.objects = [
            (
                k,
                int(scene.kind[n, k]),
                scene.centre[:, n, k].numpy(),
                scene.axes[:, :, n, k].numpy(),
                scene.half[:, n, k],
            )
            for k in range(K)
            if scene.there[n, k]
        ]

    def ray(self, row: float, column: float, size: int) -> np.ndarray:
        """Through a pixel, with z = 1."""
        middle = (size - 1) / 2
        return np.array(
            [(column - middle) / (size / 2) * self.tangent, (row - middle) / (size / 2) * self.tangent, 1.0]
        )

    def entered(self, points: np.ndarray, leave_out: int = -1) -> np.ndarray:
        """What each point [M, 3] is inside of: 0..K-1, GROUND below the ground, else SKY."""
        found = np.where(points @ self.up < -self.height, GROUND, SKY)
        for k, kind, centre, axes, half in self.objects:
            if k == leave_out:
                continue
            own = (points - centre) @ axes.T  # axes[a] is the a-th axis
            if kind == SPHERE:
                inside = np.linalg.norm(own, axis=1) < float(half[0])
            elif kind == BOX:
                inside = (np.abs(own) < half.numpy()).all(axis=1)
            else:
                inside = (np.hypot(own[:, 0], own[:, 1]) < float(half[0])) & (
                    np.abs(own[:, 2]) < float(half[2])
                )
            found[inside] = k
        return found

    def first(self, ray: np.ndarray) -> tuple[int, float]:
        """What the ray meets first, and its depth; SKY and infinity, where that is nothing."""
        steps = np.arange(0.05, FARTHEST, STEP)
        what = self.entered(steps[:, None] * ray)
        there = np.flatnonzero(what != SKY)
        if not len(there):
            return SKY, math.inf
        low, high = steps[there[0]] - STEP, steps[there[0]]
        for _ in range(40):
            middle = (low + high) / 2
            if self.entered(middle * ray[None])[0] == SKY:
                low = middle
            else:
                high = middle
        return int(self.entered(high * ray[None])[0]), high

    def facing(self, row: int, column: int, size: int) -> np.ndarray:
        """The normal at a pixel, from three points around its middle that must lie on one surface."""
        near = 1e-3
        corners = [(0.0, near), (near, -near), (-near, -near)]
        rays = [self.ray(row + y, column + x, size) for x, y in corners]
        a, b, c = (self.first(ray)[1] * ray for ray in rays)
        normal = np.cross(b - a, c - a)
        normal /= np.linalg.norm(normal)
        return normal if normal @ rays[0] < 0 else -normal

    def dark(self, point: np.ndarray, own: int) -> bool:
        """Whether another object stands between the point and the light."""
        points = point + np.arange(STEP, 12, STEP)[:, None] * self.light
        return bool((self.entered(points, leave_out=own) < K).any())
