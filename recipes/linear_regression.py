"""Linear regression by gradient descent on the diabetes table, against the closed-form least-squares solution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import RunOptions, above_zero, at_least, chosen

if TYPE_CHECKING:
    from recipes.runner import Job

QUESTION = (
    "Does gradient descent find the least-squares solution, and are attributions exact on a linear model?"
)
BASELINE, REFERENCE = None, "full_batch"
TUNING = "none: one learning rate, below the stability limit of the full batch"
ALL = ("full_batch", "stochastic", "stochastic_decay")


@dataclass(frozen=True)
class Options(RunOptions):
    """Gradient descent on one linear layer: whole batch, mini-batches, mini-batches with a decaying step."""

    out: Path = Path("runs/linear_regression")
    """Folder for the run directories and report.html; must be absent or empty."""
    variants: tuple[str, ...] = ALL
    """Which variants to run."""
    steps: int = 4000
    """Gradient steps of each run."""
    lr: float = 0.2
    """Step size of every variant (stochastic_decay: at its start)."""
    batch_size: int = 30
    """Examples a step of the stochastic variants."""
    examples: int = 6
    """Test rows whose attributions are kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "steps", "batch_size", "examples")
        above_zero(self, "lr")
        chosen("variants", self.variants, ALL)


def variants(options: Options) -> tuple[str, ...]:
    return options.variants


def train(job: Job) -> None:
    """One run: fit, compare with least squares on the way, explain, compare the maps with w x."""
    import numpy as np
    import torch

    import explain
    import mtl
    from recipes.record import record_fit
    from recipes.runner import run_directory

    options: Options = job.options
    data = mtl.dataset("diabetes")
    whole, decay = job.variant == "full_batch", job.variant == "stochastic_decay"
    design = torch.cat([data.train.inputs, torch.ones(len(data.train), 1)], dim=1).double()
    solution = torch.linalg.lstsq(design, data.train.targets["progression"].double()).solution  # [11]

    def parameter_error(model: mtl.MultiTaskModel, step: int) -> list[mtl.Record]:
        """|parameters - solution| / |solution|, over the ten weights and the intercept."""
        found = torch.cat([p.detach().flatten() for p in model.heads.parameters()]).double().cpu()
        error = float((found - solution).norm() / solution.norm())
        return mtl.rows({"progression": {"parameter_error": error}}, step, epoch=0, split="train")

    extra = [("parameter_error", "relative", False), ("attribution_error", "points", False)]
    with run_directory(job, data, "the last step", extra) as run:
        with mtl.seeded(job.seed):
            model = mtl.MultiTaskModel(mtl.backbone("identity", in_features=10), data.tasks).to(
                job.options.device
            )
        result = mtl.fit(
            model,
            data.train,
            data.validation,
            steps=options.steps,
            batch_size=len(data.train) if whole else options.batch_size,
            optimizer="sgd",
            lr=options.lr,
            weight_decay=0.0,
            schedule="linear" if decay else "constant",
            select="last",
            validate_every=max(1, options.steps // 20),
            dynamics_every=None,
            observe=parameter_error,
            log=run.log,
            checkpoints=job.folder / "checkpoints",
            resume=job.resume,
            allow_change=job.allow_change,
            progress=False,
            seed=job.seed,
        )

        weights = next(model.heads.parameters()).detach()[0].cpu()  # [10]
        mean = data.train.inputs.mean(dim=0)
        x = data.test.inputs
        exact = {"input_x_gradient": weights * x, "integrated_gradients": weights * (x - mean)}
        test = data.test.inputs.to(job.options.device)
        shown = slice(0, options.examples)
        run.save_examples(
            inputs=data.test.inputs[shown].numpy(), masks={}, feature_names=list(data.feature_names)
        )
        gap = 0.0
        for method, expected in exact.items():
            how: dict[str, Any] = {"baseline": mean} if method == "integrated_gradients" else {}
            maps = explain.saliency(model, test, "progression", method=method, **how).cpu()
            gap = max(gap, float((maps - expected).abs().max()))
            run.save_attribution(
                method,
                "progression",
                maps=maps[shown].numpy(),
                prediction=model(test[shown])["progression"].detach().cpu().numpy().reshape(-1),
                label=np.asarray(data.test.targets["progression"][shown]),
            )
        extra_scores = {"progression": {"attribution_error": gap}}
        run.finish(summary=record_fit(run, [result], data.test, extra_scores))
