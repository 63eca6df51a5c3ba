"""One's own data to a report by one YAML file, and published tables by one command."""

import html
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reports
from recipes.__main__ import main
from reports.tables import Experiment

YAML = """\
table: {folder}/customers.csv
tasks: {{churn: classification, tier: classification, spend: regression, visits: regression}}
units: {{spend: EUR, visits: visits}}
ignore: [customer]
variants: [single, equal, boosting]
seeds: [0]
steps: 20
out: {folder}/runs
"""


def customers(rows: int = 5000) -> list[str]:
    """Numbers, texts, gaps in inputs and labels, and four targets that hang together."""
    draw = np.random.default_rng(0)
    lines = ["customer,age,city,income,phone,churn,tier,spend,visits"]
    for k in range(rows):
        age, city, income = draw.integers(18, 90), draw.integers(0, 5), draw.lognormal(10, 0.5)
        visits = draw.poisson(age / 20 + city)
        spend = visits * 12.5 + income / 1000 + draw.normal()
        cells = [
            f"c{k}", age, ("Bern", "Oslo", "Rome", "Lima", "Kyiv")[city], f"{income:.2f}", ("yes", "no")[k % 2],
            ("yes", "no")[int(visits > 4)], ("low", "mid", "high")[min(2, int(spend // 40))], f"{spend:.3f}", visits,
        ]  # fmt: skip
        gaps = draw.random(len(cells)) < 0.08
        lines.append(
            ",".join(
                "" if gap and c else str(cell) for c, (cell, gap) in enumerate(zip(cells, gaps, strict=True))
            )
        )
    return lines


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "customers.csv").write_text("\n".join(customers()) + "\n")
    (folder / "mine.yaml").write_text(YAML.format(folder=folder))
    assert len(YAML.splitlines()) <= 15
    assert main(["mine", "--config", str(folder / "mine.yaml")]) == 0
    return folder / "runs"


def test_a_table_goes_to_a_report(finished: Path) -> None:
    runs = {run.variant: run for run in reports.read_runs(finished)}
    assert set(runs) == {"single", "equal", "boosting"}
    for run in runs.values():
        assert run.status == "done"
        assert not run.problems
        assert set(run.summary["test"]) == {"churn", "tier", "spend", "visits"}
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "boosting" in page
    assert "city = Bern" in page
    assert "age: missing" in page
    infos = {(info.task, info.name): info.unit for info in Experiment(list(runs.values())).main}
    assert infos[("spend", "rmse")] == "EUR"
    assert "EUR" in page
    extra = {(info.task, info.name) for info in Experiment(list(runs.values())).metrics if info.diagnostic}
    assert (
        "spend",
        "r2",
    ) in extra  # no part of Δm: its zero is the error of the mean, and near it gains explode
    assert not {("spend", "rmse"), ("spend", "mae"), ("churn", "accuracy")} & extra


def test_boosting_learns_what_there_is_to_learn(finished: Path) -> None:
    """Spend is visits and income, and neither is among the inputs alone: far from perfect, and far from nothing."""
    test = reports.read_run(finished / "boosting--s0").summary["test"]
    assert float(test["visits"]["r2"]) > 0.3
    assert float(test["churn"]["roc_auc"]) > 0.65  # 0.5 by chance
    assert list(Experiment(reports.read_runs(finished)).costs("boosting", "train_s")) == [
        0
    ]  # its time is known


def test_predictions_are_shown_in_the_targets_unit(finished: Path) -> None:
    found = {a.task: a for a in reports.read_run(finished / "equal--s0").attributions()}
    assert np.nanmean(found["spend"].prediction) > 5  # standardised outputs lie around 0
    assert found["spend"].maps.shape[0] == 6


def test_pieces_of_a_long_tail(tmp_path: Path) -> None:
    """What is bought depends on thresholds of a number over many powers of ten; maps are still the columns'."""
    draw = np.random.default_rng(0)
    income = draw.lognormal(10, 5, 400)
    lines = [f"{x:.2f},{draw.normal():.3f},{int(np.log10(x)) % 2},{np.log10(x):.3f}" for x in income]
    (tmp_path / "own.csv").write_text("\n".join(["income,age,buys,digits", *lines]))
    (tmp_path / "mine.yaml").write_text(
        f"table: {tmp_path}/own.csv\ntasks: {{buys: classification, digits: regression}}\nvariants: [equal]\n"
        f"seeds: [0]\nsteps: 150\npieces: 16\nout: {tmp_path}/runs\n"
    )
    assert main(["mine", "--config", str(tmp_path / "mine.yaml")]) == 0
    (run,) = reports.read_runs(tmp_path / "runs")
    assert float(run.summary["test"]["digits"]["r2"]) > 0.9  # scaled alone, all but the largest are equal
    assert {a.maps.shape for a in run.attributions()} == {(6, 2)}


def test_pictures_and_their_labels(tmp_path: Path) -> None:
    draw, lines = np.random.default_rng(0), ["file,kind,size"]
    for k in range(20):
        pixels = draw.integers(0, 256, size=(12 + k % 3, 14, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"p{k}.png")
        lines.append(f"p{k}.png,{'ab'[k % 2]},{k if k % 4 else ''}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    (tmp_path / "mine.yaml").write_text(
        f"images: {tmp_path}\nlabels: {tmp_path}/labels.csv\ntasks: {{kind: classification, size: regression}}\n"
        f"image_size: 16\ncache: {tmp_path}/cache\n"
        f"variants: [equal]\nseeds: [0]\nsteps: 2\nexamples: 2\nout: {tmp_path}/runs\n"
    )
    assert main(["mine", "--config", str(tmp_path / "mine.yaml")]) == 0
    (run,) = reports.read_runs(tmp_path / "runs")
    assert run.status == "done"
    assert {a.maps.shape for a in run.attributions()} == {(2, 16, 16)}
    assert len(list((tmp_path / "cache").iterdir())) == 1  # the run has mapped what the check had made


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("tasks: {a: classification}", "whose data? give either table: FILE, or images: FOLDER"),
        ("tables: own.csv", "line 1: no option 'tables'; did you mean 'table'"),
        ("tasks: [a]", "line 1: tasks must be a mapping, got list"),
        ("tasks: {1: regression}", "tasks: the name 1 is no text; put it in quotes"),
        ("tasks: {a: 1}", "tasks.a must be str, got 1"),
        ("table: {folder}/none.csv\ntasks: {a: regression}", "none.csv is not there"),
        ("table: {folder}/own.csv\ntasks: {b: regression}", "own.csv has no column b; its columns: a, x"),
        ("table: {folder}\ntasks: {a: regression}", "{folder} cannot be opened as a file: Is a directory"),
        ("table: {folder}/own.csv\ntasks: {a: regression}\nunits: {b: EUR}", "no task 'b'"),
        ("table: {folder}/own.csv\ntasks: {a: classification}\nunits: {a: EUR}", "classes have no unit"),
        ("images: {folder}/no\nlabels: {folder}/pictures.csv\ntasks: {a: regression}", "{folder}/no is no folder"),
        (
            "images: {folder}\nlabels: {folder}/pictures.csv\ntasks: {a: regression}\ncache: {folder}/own.csv",
            "cache: {folder}/own.csv cannot be made a folder: File exists",
        ),
        ("table: {folder}/own.csv\ntasks: {a: regresion}", "'a' 'regresion'; did you mean 'regression'"),
        ("table: {folder}/own.csv\ntasks: {a: regression}\nvariants: [bosting]", "did you mean 'boosting'"),
        ("table: {folder}/own.csv\ntasks: {a: regression}\nbackbone: mpl", "no backbone 'mpl'; did you mean 'mlp'"),
        ("table: {folder}/own.csv\ntasks: {a: regression}\npieces: -1", "pieces must be at least 0, got -1"),
        (
            "table: {folder}/own.csv\ntasks: {a: regression}\npieces: 8\nbackbone: identity",
            "pieces: 8 is of a table with the backbone mlp",
        ),
        ("images: {folder}\ntasks: {a: regression}", "labels: FILE goes with images: FOLDER"),
        (
            "images: {folder}\nlabels: {folder}/pictures.csv\ntasks: {a: regression}",
            "p.png is not there ({folder}/pictures.csv, row",
        ),
    ],
)  # fmt: skip
def test_mistakes_cost_one_line_and_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: str, message: str
) -> None:
    (tmp_path / "own.csv").write_text("a,x\n" + "".join(f"{k},{k}\n" for k in range(10)))
    (tmp_path / "pictures.csv").write_text("file,a\n" + "".join(f"p.png,{k}\n" for k in range(10)))
    (tmp_path / "mine.yaml").write_text(lines.replace("{folder}", str(tmp_path)) + "\n")
    out = tmp_path / "runs"
    assert main(["mine", "--config", str(tmp_path / "mine.yaml"), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert message.replace("{folder}", str(tmp_path)) in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_tabular_takes_a_published_table_or_ones_own(tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(
        tmp_path / "sarcos_inv_test.mat", {"sarcos_inv_test": np.random.default_rng(0).normal(size=(60, 28))}
    )
    small = ["--seeds", "0", "--steps", "2", "--batch-size", "8", "--examples", "1", "--variants", "equal"]
    published = ["--data", "sarcos", "--root", str(tmp_path)]
    assert main(["tabular", *published, *small, "--out", str(tmp_path / "runs")]) == 0
    (run,) = reports.read_runs(tmp_path / "runs")
    assert len(run.summary["test"]) == 7
    (tmp_path / "own.csv").write_text("x,y\n" + "".join(f"{k},{k % 7}\n" for k in range(40)))
    own = ["--file", str(tmp_path / "own.csv"), "--tasks", "y", "regression", "--pieces", "4"]
    assert main(["tabular", *own, *small, "--out", str(tmp_path / "own")]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which table? give --data adult"),
        (["--data", "sarcos", "--root", "/nowhere"], "data set 'sarcos': /nowhere is no folder"),
        (["--data", "sarcos", "--file", "x.csv"], "--file and --tasks are of --data table"),
        (["--dropout", "1"], "dropout must be below 1, got 1.0"),
        (["--pieces", "-1"], "pieces must be at least 0, got -1"),
    ],
)
def test_mistakes_with_tabular(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["tabular", *arguments]) == 2
    assert message in html.unescape(capsys.readouterr().err)


def test_auxiliary_tasks_are_trained_and_not_scored(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("x,y,hint\n" + "".join(f"{k},{k % 7},{k % 3}\n" for k in range(40)))
    (tmp_path / "mine.yaml").write_text(
        f"table: {tmp_path}/own.csv\ntasks: {{y: regression, hint: regression}}\nauxiliary: [hint]\nexamples: 1\n"
        f"variants: [single, equal, boosting]\nseeds: [0]\nsteps: 2\nout: {tmp_path}/runs\n"
    )
    assert main(["mine", "--config", str(tmp_path / "mine.yaml")]) == 0
    runs = {run.variant: run for run in reports.read_runs(tmp_path / "runs")}
    assert {name: set(run.summary["test"]) for name, run in runs.items()} == {
        "single": {"y"},
        "equal": {"y", "hint"},
        "boosting": {"y"},
    }
    experiment = Experiment(list(runs.values()))
    assert [info.task for info in experiment.main] == ["y"]
