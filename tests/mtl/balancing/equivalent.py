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
SYMMETRIC = "the matrix is its own transpose"
ROUNDING = "rounding decides, which differs from processor to processor: noticed on some only"

EQUIVALENT: dict[str, dict[str, str]] = {
    "aligned_mtl": {
        (
            "aligned_weights: return Solution(preference @ B, float(residual), rounding=1e-14 * "
            "float(values[-1] / values[0]))"
        ): SYMMETRIC,
    },
    "cagrad": {
        "cagrad_weights: T = gramian.shape[1]": SQUARE,
        "cagrad_weights: return Solution(0 / weights, 0.0)": "the weights are one",
        "cagrad_weights: return Solution(1 * weights, 0.0)": ZERO,
        "cagrad_weights: b = M.mean(dim=0)[there]": SYMMETRIC,
        "cagrad_weights: active[b.argmax()] = True": PATH,
        "cagrad_weights: for _ in range(5 * T + 4):": PATH,
        "cagrad_weights: for _ in range(4 * T + 5):": PATH,
        "cagrad_weights: if float(torch.where(active, x, slack).min()) >= 1e-12:": PATH,
        "_root: A = A - 1e-13 * torch.eye(len(A), dtype=A.dtype)": (
            "either sign keeps a singular system solvable"
        ),
        "cagrad_weights: e = e * (radius / max(reached, 1e-12 / radius))": (
            "an e of that length is replaced anyway"
        ),
        (
            "_shortest: w, half = (minimum_norm_weights(M + s * (b + b[:, None]) + (s * length) ** "
            "3).weights for s in (s, s / 2))"
        ): (
            "what is added to every inner product changes no shortest combination, as long as none is negative"
        ),
        (
            "_shortest: w, half = (minimum_norm_weights(M + s * (b + b[:, None]) + (s / length) ** "
            "2).weights for s in (s, s / 2))"
        ): (
            "what is added to every inner product changes no shortest combination, as long as none is negative"
        ),
        (
            "_shortest: w, half = (minimum_norm_weights(M + s * (b + b[:, None]) - (s * length) ** "
            "2).weights for s in (s, s / 2))"
        ): (
            "what is added to every inner product changes no shortest combination, as long as none is negative"
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
        "solve: terms = rows[:, block].square() / torch.where(root > 0, root, 2.0)": FILLER,
        "solve: relative = excess / torch.where(first > 0, first, 2.0)": FILLER,
        "solve: logits = logits + logits.mean()": "a softmax does not see a number added to all logits",
        "solve: logits = logits - logits.sum()": "a softmax does not see a number added to all logits",
    },
    "fairgrad": {
        "fair_weights: error = _error(had, asked, b @ sizes)": SYMMETRIC,
        "fair_weights: return Solution(weights, _error(had, asked, b @ sizes))": SYMMETRIC,
        "fair_weights: if (done or step != _PATIENCE) and _cancel(C, had, float(b @ had)):": (
            "it is asked more often"
        ),
        "_step: factor, _ = torch.linalg.cholesky_ex(C + torch.diag(slope - 1e-13))": (
            "either sign is rounding beside the slope"
        ),
        (
            "_step: grown = torch.where(powers, (t * move).clamp(-500, 501).exp(), (1 + t * "
            "move).clamp(min=0.1))"
        ): PATH,
        (
            "_step: grown = torch.where(powers, (t * move).clamp(-501, 500).exp(), (1 + t * "
            "move).clamp(min=0.1))"
        ): PATH,
        "_step: if after - after_u <= square - sum_u + 0.0001 / t * descent + rounding:": PATH,
        "_step: if after - after_u <= square - sum_u - 0.0001 * t * descent + rounding:": PATH,
        "_step: rounding = 1e-13 / (abs(square) + abs(sum_u)) + 1e-15 * float(b @ (C.abs() @ b))": (
            "either way it is rounding beside the terms of the value"
        ),
        "fair_weights: done = error < 1e-12 or (residual <= TOLERANCE and error > residual / 3)": (
            "below the tolerance already; a step more or less"
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
            "gradvac_weights: cosine = torch.where(there, inner / torch.where(there, own * other, 1.0), "
            "0.0).clamp(-2.0, 1.0)"
        ): ROUNDING,
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
        (
            "solve: return (Answer(weights=weights), PairState(given.jacobian.clone(), weights, state.steps "
            "+ 2))"
        ): "only whether there was a step is read",
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
            "solve: return (Answer(weights=weights), PairState(given.jacobian.clone(), len(given.tasks) * "
            "w, state.steps + 2))"
        ): "only whether there was a step is read",
    },
    "solvers": {
        "complementarity: T = M.shape[1]": SQUARE,
        "complementarity: for _ in range(21 * T + 20):": PATH,
        "complementarity: for _ in range(20 * T + 21):": PATH,
        "complementarity: count = wrong.sum(dim=0)": PATH,
        "complementarity: for _ in range(20 * T - 20):": PATH,
        "complementarity: free = start < _SLACK": PATH,
        "complementarity: free = start > -_SLACK": PATH,
        "complementarity: fewest, chances = (count, torch.full_like(count, 3))": PATH,
        "complementarity: chances = torch.where(count < fewest, 4, chances - 1)": PATH,
        "complementarity: chances = torch.where(count < fewest, 3, chances - 2)": PATH,
        "complementarity: if bool((chances < 1).any()):": PATH,
        "complementarity: wrong = wrong & ((chances >= 0)[None, :] | last)": PATH,
        "complementarity: wrong = wrong & ((chances >= 1)[:, None] | last)": PATH,
        "_solved: system, right = (M * active[:, :, None] * active[:, :, None], -start * active)": (
            "the rows that are not free already have x = 0"
        ),
        "_solved: system.diagonal(dim1=1, dim2=2).add_(torch.where(free, _RIDGE, 2.0))": (
            "2 x = 0 where x = 0"
        ),
        "minimum_norm_weights: c = lengths.max() / lengths": CANCELS,
        "equal_cosines: kept = values > 1e-12 / values[-1].clamp(min=torch.finfo(values.dtype).tiny)": (
            "the largest eigenvalue of cosines is between one and T"
        ),
    },
}
