"""Slow references of the methods that solve a problem: by trying every active set, coordinate by coordinate, by SVD.

None of them works as the methods do: those pivot, take Newton steps or decompose the Gramian.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from scipy.optimize import brentq


def subsets(count: int, smallest: int) -> Iterator[list[int]]:
    for size in range(smallest, count + 1):
        yield from map(list, itertools.combinations(range(count), size))


def simplex_minimum(Q: np.ndarray, b: np.ndarray) -> np.ndarray:
    """argmin w' Q w / 2 + b'w over the simplex: the best of the minima on the faces that lie inside."""
    best, value = np.full(len(b), np.nan), np.inf
    for face in subsets(len(b), 1):
        n = len(face)
        system = np.ones((n + 1, n + 1))
        system[:n, :n], system[n, n] = Q[np.ix_(face, face)], 0
        inside = np.linalg.lstsq(system, np.append(-b[face], 1), rcond=None)[0][:n]
        w = np.zeros(len(b))
        w[face] = inside
        if inside.min() >= -1e-12 and w @ Q @ w / 2 + b @ w < value:
            best, value = w, w @ Q @ w / 2 + b @ w
    return best


def cone_projection(G: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The nearest point to x that no row of G opposes: the best of the projections onto the faces of that cone."""
    best = np.zeros_like(x)  # in the cone, whatever it is
    for face in subsets(len(G), 0):
        y = x - np.linalg.pinv(G[face]) @ (G[face] @ x) if face else x
        rounding = 1e-12 * np.linalg.norm(G, axis=1) * np.linalg.norm(x)
        if (G @ y >= -rounding).all() and np.linalg.norm(y - x) < np.linalg.norm(best - x):
            best = y
    return best


def not_zero(J: np.ndarray) -> np.ndarray:
    """The rows that are not zero, [there, P]."""
    return J[np.linalg.norm(J, axis=1) > 0]


def mgda(J: np.ndarray, L: np.ndarray, normalise: str = "none", reference: str = "paper") -> np.ndarray:
    lengths = np.linalg.norm(J, axis=1)
    divisors = {"none": 1 + 0 * L, "l2": lengths, "loss": L, "loss+": lengths * L}[normalise]
    divided = J / np.where(divisors > 0, divisors, L if normalise == "loss+" else 1)[:, None]
    size = np.abs(divided).max() or 1.0
    w = simplex_minimum(divided @ divided.T / size**2, 0 * L)
    return len(J) * w @ (divided if reference == "paper" else J)


def cagrad(J: np.ndarray, L: np.ndarray, c: float = 0.5, rescale: str = "none") -> np.ndarray:
    """g + c |g| g_w / |g_w|, w the minimum of g_w · g + c |g| |g_w| over the simplex (equation 4).

    Its optimality conditions are those of |g_w|² / 2 + s g_w · g for the s at which |g_w| = s c |g|; what is added to
    the mean is g_w / s. Where gradients cancel and c is large, s is zero, and the limit counts: the shortest that does
    all that can be done.
    """
    size = np.abs(J).max() or 1.0
    mean, G = J.mean(axis=0) / size, not_zero(J) / size
    radius = c * np.linalg.norm(mean)
    if radius <= 1e-12:
        return len(J) * size * mean

    def point(s: float) -> np.ndarray:
        return simplex_minimum(G @ G.T, s * G @ mean) @ G

    def miss(s: float) -> float:
        return float(np.linalg.norm(point(s)) - s * radius)

    s, longest = 1e-4, np.linalg.norm(G, axis=1).max()
    if miss(s) > 0:
        s = brentq(miss, s, 1.01 * longest / radius, xtol=1e-300, rtol=1e-15)
    divisor = {"none": 1.0, "squared": 1 + c**2, "linear": 1 + c}[rescale]
    return len(J) * size * (mean + point(s) / s) / divisor


def fairgrad(J: np.ndarray, L: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """M a = a^(-1/alpha), one equation after the other until none moves: descent by coordinates.

    Where a combination of gradients is zero no weights exist, and so no direction.
    """
    G = not_zero(J)
    if not len(G):
        return J.sum(axis=0)
    unit = G / np.linalg.norm(G, axis=1, keepdims=True)
    if np.linalg.norm(simplex_minimum(unit @ unit.T, np.zeros(len(G))) @ unit) < 1e-7:
        return 0 * J[0]
    M, a = G @ G.T, 1 / np.linalg.norm(G, axis=1)
    for _ in range(20000):
        before = a.copy()
        for t in range(len(a)):
            rest = sum(M[t, s] * a[s] for s in range(len(a)) if s != t)

            def miss(log_a: float, own: float = M[t, t], rest: float = rest) -> float:
                return own * np.exp(log_a) + rest - np.exp(-log_a / alpha)

            low, high = np.log(a[t]) - 1, np.log(a[t]) + 1
            while miss(low) > 0:
                low -= 5
            while miss(high) < 0:
                high += 5
            a[t] = np.exp(brentq(miss, low, high, xtol=1e-15, rtol=1e-15))
        if np.abs(a / before - 1).max() < 1e-13:
            return a @ G
    raise AssertionError("the descent by coordinates did not end")


def nash_mtl(J: np.ndarray, L: np.ndarray) -> np.ndarray:
    """M a = 1 / a: proportional fairness."""
    return fairgrad(J, L, alpha=1.0)


def upgrad(J: np.ndarray, L: np.ndarray, preference: list[float] | None = None) -> np.ndarray:
    p = np.ones(len(J)) if preference is None else preference
    return sum((cone_projection(J, p[t] * J[t]) for t in range(len(J))), start=0 * J[0])


def dualproj(J: np.ndarray, L: np.ndarray, preference: list[float] | None = None) -> np.ndarray:
    p = np.ones(len(J)) if preference is None else preference
    return cone_projection(J, sum((p[t] * J[t] for t in range(len(J))), start=0 * J[0]))


def aligned_mtl(
    J: np.ndarray, L: np.ndarray, preference: list[float] | None = None, scale: str = "min"
) -> np.ndarray:
    """G = U S V' made s U V', the nearest system with condition number one; then its rows added by preference.

    s² is the smallest, the median (the lower of two middle ones) or the mean of the S² that are not zero.
    """
    p = np.ones(len(J)) if preference is None else np.array(preference)
    U, S, V = np.linalg.svd(J, full_matrices=False)
    rank = 1e-6 * S.max() < S
    squares = sorted(S[rank] ** 2)
    if not squares:
        return 0 * J[0]
    choices = {"min": squares[0], "median": squares[(len(squares) - 1) // 2], "rmse": np.mean(squares)}
    return np.sqrt(choices[scale]) * p @ U[:, rank] @ V[rank]


def imtl_g(J: np.ndarray, L: np.ndarray) -> np.ndarray:
    """The closed form of the paper: weights 2 to T are g_1 U' (D U')^-1, D and U the differences to the first task.

    Parallel gradients leave it open; then the unit gradients' weights are the shortest. Zero where it would ascend.
    """
    G = not_zero(J)
    if not len(G):
        return J.sum(axis=0)
    unit = G / np.linalg.norm(G, axis=1, keepdims=True)
    D, U = G[:1] - G[1:], unit[:1] - unit[1:]
    if np.linalg.matrix_rank(unit) == len(G):
        rest = np.linalg.solve(U @ D.T, U @ G[0])
        w = np.append(1 - rest.sum(), rest)
    else:
        b = np.linalg.lstsq(unit @ unit.T, np.ones(len(G)), rcond=1e-10)[0]
        b = b / np.linalg.norm(G, axis=1)
        if b.sum() <= 1e-9 * np.abs(b).sum():
            return 0 * J[0]
        w = b / b.sum()
    d = len(J) * w @ G
    return (
        d if d @ unit[0] > -1e-9 * np.linalg.norm(d) else 0 * d
    )  # of opposed gradients it is 0, but for rounding


def config(J: np.ndarray, L: np.ndarray, preference: list[float] | None = None) -> np.ndarray:
    """The sum of the gradients' projections on u, the direction of the pseudo-inverse [P, T] times the preference."""
    p = np.ones(len(J)) if preference is None else np.array(preference)
    there = np.linalg.norm(J, axis=1) > 0
    G = J[there]
    unit = G / np.linalg.norm(G, axis=1, keepdims=True)
    u = np.linalg.pinv(unit, rcond=1e-8) @ p[there]
    if np.linalg.norm(u) < 1e-9:
        return 0 * J[0]
    u = u / np.linalg.norm(u)
    return sum((g @ u for g in G), start=0.0) * u
