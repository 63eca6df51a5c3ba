"""The snippet of the design, line by line, and the borders between the packages."""

import ast
import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import pytest
import torch

import explain
import mtl
import reports

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "mtl": {"mtl"},
    "explain": {"explain"},
    "reports": {"reports"},
    "recipes": {"mtl", "explain", "reports", "recipes"},
}


def test_the_designs_snippet(tmp_path: Path) -> None:
    data = mtl.dataset("multimnist", train=64, validation=16, test=8)
    train, validation, images = data.train, data.validation, data.test.inputs
    targets, masks = data.test.targets, data.test.masks

    tasks = [mtl.Classification("left", classes=10), mtl.Classification("right", classes=10)]
    model = mtl.MultiTaskModel(mtl.backbone("cnn", in_channels=1, image_size=36), tasks)
    assert isinstance(model.heads, torch.nn.ModuleList)
    outputs = model(images)
    assert {name: list(output.shape) for name, output in outputs.items()} == {
        "left": [8, 10],
        "right": [8, 10],
    }

    balancer = mtl.Balancer("upgrad")
    assert "upgrad" in mtl.BALANCERS
    losses = model.losses(outputs, targets)
    balancer.backward(losses, model)
    assert all(p.grad is not None for p in model.parameters())
    jacobian = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    direction = mtl.combine(jacobian, "upgrad")
    assert direction.shape == (5,)

    result = mtl.fit(model, train, validation, balancer="upgrad", epochs=5, seed=0)
    assert result.steps == 5

    maps = explain.saliency(model, images)
    assert {name: list(m.shape) for name, m in maps.items()} == {
        "left": [8, 1, 36, 36],
        "right": [8, 1, 36, 36],
    }
    one = explain.saliency(model, images, task="left", method="integrated_gradients")
    assert one.shape == images.shape
    timm_model = mtl.backbone("timm/resnet10t")
    any_ = explain.saliency(timm_model, torch.zeros(1, 3, 64, 64), target=3, method="grad_cam")
    assert any_.shape[0] == 1
    scores = explain.evaluate(model, images, maps, metrics=["localisation"], masks=masks)
    assert set(scores["map"]) == {"given", "random", "image"}
    assert isinstance(explain.show(images, maps), matplotlib.figure.Figure)

    with reports.RunWriter(
        tmp_path / "runs" / "upgrad--s0",
        experiment={"name": "snippet", "question": "does it run?", "baseline": None, "reference": None},
        variant="upgrad",
        seed=0,
        tasks=[
            {
                "name": t.name,
                "kind": t.kind,
                "classes": list(t.class_names),
                "metrics": [
                    {"name": m.name, "unit": m.unit, "higher_is_better": m.higher_is_better}
                    for m in t.metrics
                ],
            }
            for t in tasks
        ],
        config={},
        command=[],
        data={},
        selection=result.selection,
        tuning_budget="none",
    ) as run:
        run.log(
            mtl.rows(
                {t: {"accuracy": s["accuracy"]} for t, s in mtl.evaluate(model, data.test).items()},
                5,
                5,
                "test",
            )
        )
        run.finish(summary={})
    assert reports.build(tmp_path / "runs", out=tmp_path / "report.html").is_file()


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_what_the_design_allows(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
            roots = {name.split(".")[0] for name in names}
            assert not (roots & set(MAY_IMPORT)) - MAY_IMPORT[package], f"{file}: {sorted(roots)}"
            assert package != "reports" or not roots & {"torch", "captum", "timm", "torchvision"}, file


def test_files_stay_short() -> None:
    for package in (*MAY_IMPORT, "tests", "benchmarks"):
        for file in (ROOT / package).rglob("*.py"):
            lines = len(file.read_text(encoding="utf-8").splitlines())
            limit = 200 if package == "recipes" and file.stem in __import__("recipes").RECIPES else 400
            assert lines <= limit, f"{file} has {lines} lines"


def test_importing_changes_no_global_state() -> None:
    code = """
import os, random
import matplotlib, numpy as np, torch
def state():
    return (os.environ.copy(), random.getstate(), np.random.get_state()[1].tobytes(),
            torch.get_rng_state().numpy().tobytes(),
            torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(), matplotlib.rcParams.copy(),
            matplotlib.rcParams._get("backend"))
before = state()
import mtl, explain, reports, recipes
assert state() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
