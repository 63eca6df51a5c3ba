"""The mutants that nobody can notice, by file, each with the reason: the answer is the same.

Numbers below 1e-6, options' defaults and their checks are not changed in the first place.
"""

SQUARE = "a Gramian is square"
CANCELS = "a factor of all that the method answers, which it divides out"
NAN = "any NaN says 'not yet'"
FILLER = "stands in for a zero that divides a zero, or for what is masked afterwards"
ZERO = "what is zero to rounding stays so with any factor"
NUMBER = "the inner product of two vectors"
PATH = "another way to the same solution; its conditions are checked at the end"
ROUNDING = "when an iteration stops among points that are equal to rounding"

EQUIVALENT: dict[str, dict[str, str]] = {
    "cagrad": {
        "cagrad_weights: T = gramian.shape[1]": SQUARE,
        "cagrad_weights: return Solution(0 / weights, 0.0)": "the weights are one",
        "cagrad_weights: return Solution(1 * weights, 0.0)": ZERO,
        "cagrad_weights: b = M.mean(dim=0)[there]": "M is symmetric",
        "cagrad_weights: active[b.argmax()] = True": PATH,
        "cagrad_weights: for _ in range(5 * T + 4):": PATH,
        "cagrad_weights: for _ in range(4 * T + 5):": PATH,
        "cagrad_weights: if float(torch.where(active, x, slack).min()) >= 1e-12:": PATH,
        "_root: A = A - 1e-13 * torch.eye(len(A), dtype=A.dtype)": (
            "either sign keeps a singular system solvable"
        ),
    },
    "config": {
        "solve: return (Answer(weights=1 * weights), state)": ZERO,
    },
    "cosmos": {
        "solve: angle = (r / r.norm() - unit @ (r / r.norm()) * unit) / size": NUMBER,
    },
    "db_mtl": {
        (
            "solve: factors = torch.where(lengths > 0, lengths.max() / torch.where(lengths > 0, lengths, "
            "2.0), 0.0)"
        ): FILLER,
        (
            "solve: factors = torch.where(lengths > 0, lengths.max() / torch.where(lengths > 0, lengths, "
            "1.0), 1.0)"
        ): "the factor of a mean that is zero",
    },
    "dwa": {
        "init: return DWAState(zeros, zeros, zeros - torch.nan, zeros + torch.nan)": NAN,
        "init: return DWAState(zeros, zeros, zeros + torch.nan, zeros - torch.nan)": NAN,
        "solve: total, steps = (state.total - given.losses, state.steps + 1)": CANCELS,
        (
            "solve: return (Answer(weights=weights), DWAState(total=torch.where(full, 0.0, total), "
            "steps=torch.where(full, 0.0, steps), last=torch.where(full, total * steps, state.last), "
            "before=torch.where(full, state.last, state.before)))"
        ): CANCELS,
    },
    "excess_mtl": {
        "solve: excess = (rows.square() / torch.where(root > 0, root, 1.0)).mean(dim=1).double().cpu()": (
            CANCELS
        ),
        "solve: excess = (rows.square() / torch.where(root > 0, root, 2.0)).sum(dim=1).double().cpu()": (
            FILLER
        ),
        "solve: relative = excess / torch.where(first > 0, first, 2.0)": FILLER,
        "solve: logits = logits + logits.mean()": "a softmax does not see a number added to all logits",
        "solve: logits = logits - logits.sum()": "a softmax does not see a number added to all logits",
    },
    "fairgrad": {
        (
            "fair_weights: if found < 1e-13 or (found <= TOLERANCE - 1e-14 * float((b / start).max()) ** 2 "
            "and found >= residual):"
        ): ROUNDING,
        (
            "fair_weights: if found < 1e-13 or (found <= TOLERANCE + 1e-14 / float((b / start).max()) ** 2 "
            "and found >= residual):"
        ): ROUNDING,
        (
            "fair_weights: if found < 1e-13 or (found <= TOLERANCE + 1e-14 * float((b / start).min()) ** 2 "
            "and found >= residual):"
        ): ROUNDING,
        (
            "fair_weights: if found < 1e-13 or (found <= TOLERANCE + 1e-14 * float((b * start).max()) ** 2 "
            "and found >= residual):"
        ): ROUNDING,
        (
            "fair_weights: if found < 1e-13 or (found <= TOLERANCE + 1e-14 * float((b / start).max()) ** 2 "
            "and found <= residual):"
        ): ROUNDING,
        "fair_weights: residual = max(residual, found)": ROUNDING,
        "fair_weights: b = _search(C, k, p, b, step, slope=float((products + wanted) @ step))": PATH,
        "_search: t = min(2.0, 0.9 / max(float((-step / b).max()), 0.9))": "the other number is at most one",
        "_search: while t > 1e-12 and value(b + t * step) > here + 0.0001 * t * slope + 1e-13 / abs(here):": (
            PATH
        ),
    },
    "famo": {
        "init: return FAMOState(zeros, Adam.start(size), zeros - torch.nan)": NAN,
        "revise: delta = torch.where(pending, state.before - self._gaps(given).log(), 1.0)": FILLER,
        "revise: step, adam = state.adam.step(torch.where(pending, gradient, 1.0), pending)": FILLER,
    },
    "graddrop": {
        "solve: share = 0.5 * (1 + total / torch.where(size > 0, size, 2.0))": FILLER,
    },
    "gradnorm": {
        "init: return GradNormState(zeros, Adam.start(size), zeros - torch.nan)": NAN,
    },
    "gradvac": {
        "gradvac_weights: T = gramian.shape[1]": SQUARE,
        (
            "gradvac_weights: cosine = torch.where(there, inner / torch.where(there, own * other, 2.0), "
            "0.0).clamp(-1.0, 1.0)"
        ): FILLER,
        (
            "gradvac_weights: cosine = torch.where(there, inner / torch.where(there, own * other, 1.0), "
            "1.0).clamp(-1.0, 1.0)"
        ): FILLER,
        (
            "gradvac_weights: cosine = torch.where(there, inner / torch.where(there, own * other, 1.0), "
            "0.0).clamp(-1.0, 2.0)"
        ): "a cosine above one is above every target, and only rounding above",
        (
            "gradvac_weights: amount = own * (wanted * (1 - cosine ** 2).sqrt() - cosine * turn) / "
            "torch.where(there, other * turn, 2.0)"
        ): FILLER,
    },
    "imtl_g": {
        "solve: if total <= 1e-12 * float(weights.abs().mean()):": "another number that is zero to rounding",
        "solve: return (Answer(weights=1 * weights), state)": ZERO,
    },
    "krum": {
        "solve: near = max(T - outliers - 2, min(T - 2, 1))": (
            "two gradients have one distance, so they tie with or without it"
        ),
        "solve: sure, tied = (scores < last + rounding, (scores - last).abs() <= rounding)": (
            "the tied then have one each, and the share takes off what is too much"
        ),
    },
    "mgda": {
        "solve: divisors = divisors * torch.where(lengths > 0, lengths, 2.0)": FILLER,
    },
    "moco": {
        "init: return MoCoState(torch.zeros(T, size.parameters), ones, 0 / ones)": "zero either way",
    },
    "modo": {
        "start: return cls(torch.zeros(size.tasks, size.parameters), ones, 0 / ones)": "zero either way",
        "solve: return (Answer(weights=weights), PairState(given.jacobian.clone(), weights, state.steps + 2))": (
            "only whether there was a step is read"
        ),
    },
    "nash_mtl": {
        (
            "nash_weights: if found < 1e-13 or (found <= TOLERANCE - 1e-14 * float(b.max()) ** 2 "
            "and found >= residual):"
        ): ROUNDING,
        (
            "nash_weights: if found < 1e-13 or (found <= TOLERANCE + 1e-14 / float(b.max()) ** 2 "
            "and found >= residual):"
        ): ROUNDING,
        (
            "nash_weights: if found < 1e-13 or (found <= TOLERANCE + 1e-14 * float(b.min()) ** 2 "
            "and found >= residual):"
        ): ROUNDING,
        (
            "nash_weights: if found < 1e-13 or (found <= TOLERANCE + 1e-14 * float(b.max()) ** 2 "
            "and found <= residual):"
        ): ROUNDING,
        "nash_weights: residual = max(residual, found)": ROUNDING,
    },
    "pbi": {
        "solve: off = gaps - ray @ gaps * ray": NUMBER,
    },
    "pcgrad": {
        "pcgrad_weights: T = gramian.shape[1]": SQUARE,
    },
    "sdmgrad": {
        "solve: mean = float(lengths.mean()) or 2.0": FILLER,
        (
            "solve: return (Answer(weights=weights), PairState(given.jacobian.clone(), len(given.tasks) * w, "
            "state.steps + 2))"
        ): "only whether there was a step is read",
    },
    "solvers": {
        "complementarity: T = M.shape[1]": SQUARE,
        "complementarity: fewest = torch.full((len(start),), T - 1)": PATH,
        "complementarity: fewest = torch.full((len(start),), T + 2)": PATH,
        "complementarity: chances = torch.full((len(start),), 4)": PATH,
        "complementarity: for _ in range(21 * T + 20):": PATH,
        "complementarity: for _ in range(20 * T + 21):": PATH,
        "complementarity: count = wrong.sum(dim=0)": PATH,
        "complementarity: chances = torch.where(better, 4, chances - 1)": PATH,
        "complementarity: chances = torch.where(better, 3, chances - 2)": PATH,
        "complementarity: free = free ^ wrong & ((chances >= 0)[None, :] | last)": PATH,
        "complementarity: free = free ^ wrong & ((chances >= 1)[:, None] | last)": PATH,
        "complementarity: system = M * active[:, :, None] * active[:, :, None]": (
            "the rows that are not free already have x = 0"
        ),
        "complementarity: system.diagonal(dim1=1, dim2=2).add_(torch.where(free, _RIDGE, 2.0))": (
            "2 x = 0 where x = 0"
        ),
        "minimum_norm_weights: c = lengths.max() / lengths": CANCELS,
        "equal_cosines: kept = values > 1e-12 / values[-1].clamp(min=torch.finfo(values.dtype).tiny)": (
            "the largest eigenvalue of cosines is between one and T"
        ),
    },
}
