"""Tables of one's own: what is fitted on the training rows, missing values, and one clear line for each mistake."""

import gzip
import math
import sys
from pathlib import Path

import polars
import pytest
import torch

import mtl

ROWS = [
    "id,age,city,plan,visits,churn,spend",
    *(
        f"c{k},{20 + k if k % 5 else ''},{('Bern', 'Oslo', 'NA')[k % 3]},{k % 2},{k % 4},{('no', 'yes')[k % 2]},"
        f"{'?' if k % 7 == 0 else 10.5 * k}"
        for k in range(40)
    ),
]
TASKS = {"churn": "classification", "spend": "regression"}


def write(folder: Path, rows: list[str], name: str = "own.csv") -> Path:
    file = folder / name
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def test_columns_become_features_by_the_training_rows(tmp_path: Path) -> None:
    data = mtl.dataset("table", file=write(tmp_path, ROWS), tasks=TASKS, ignore=["id"], categorical=["plan"])
    assert data.feature_names == (
        "age", "age: missing", "city = Bern", "city = Oslo", "city: missing", "plan = 0", "plan = 1", "visits",
    )  # fmt: skip
    train, at = data.train.inputs, {name: k for k, name in enumerate(data.feature_names)}
    there = train[:, at["age: missing"]] == 0
    ages = train[there][:, at["age"]]
    assert float(ages.mean()) == pytest.approx(0, abs=1e-5)
    assert float(ages.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert not train[~there][:, at["age"]].any()
    cities = train[:, [at["city = Bern"], at["city = Oslo"], at["city: missing"]]]
    assert torch.equal(cities.sum(dim=1), torch.ones(len(train)))
    assert [len(split) for split in (data.train, data.validation, data.test)] == [24, 8, 8]


def test_numbers_may_be_ranks(tmp_path: Path) -> None:
    powers = [f"{10**k if k != 3 else '?'},train,{k}" for k in range(9)]
    file = write(tmp_path, ["x,part,y", *powers, "5,validation,1", "1e30,test,2"])
    data = mtl.dataset("table", file=file, tasks={"y": "regression"}, split="part", numbers="ranks")
    x = data.train.inputs[:, 0]
    torch.testing.assert_close(x[[0, 1, 2, 4, 5, 6, 7, 8]].diff(), torch.full((7,), (12 / 63) ** 0.5))
    assert float(x[3]) == 0
    assert data.train.inputs[:, 1].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert float(data.test.inputs[0, 0]) == float(x[8])  # beyond all: at the end
    assert float(x[0]) < float(data.validation.inputs[0, 0]) < float(x[1])
    with pytest.raises(ValueError, match="no way to give numbers 'rank'; did you mean 'ranks'"):
        mtl.dataset("table", file=file, tasks={"y": "regression"}, split="part", numbers="rank")


def test_labels_keep_their_unit_and_may_be_missing(tmp_path: Path) -> None:
    data = mtl.dataset("table", file=write(tmp_path, ROWS), tasks=TASKS, ignore=["id"])
    churn, spend = data.tasks
    assert churn.class_names == ("no", "yes")
    everything = torch.cat([s.targets["spend"] for s in (data.train, data.validation, data.test)])
    assert int(everything.isnan().sum()) == 6
    assert float(everything[~everything.isnan()].max()) == pytest.approx(10.5 * 39)
    seen = data.train.targets["spend"]
    assert isinstance(spend, mtl.Regression)
    assert spend.mean == pytest.approx(float(seen[~seen.isnan()].mean()), rel=1e-5)


def test_rows_without_any_label_are_left_out(tmp_path: Path) -> None:
    rows = [ROWS[0], *(row.rsplit(",", 2)[0] + ",," if k < 10 else row for k, row in enumerate(ROWS[1:]))]
    data = mtl.dataset("table", file=write(tmp_path, rows), tasks=TASKS, ignore=["id"])
    assert len(data.train) + len(data.validation) + len(data.test) == 30


def test_a_column_may_tell_the_split(tmp_path: Path) -> None:
    parts = ("train", "train", "validation", "test")
    rows = [ROWS[0] + ",part", *(f"{row},{parts[k % 4]}" for k, row in enumerate(ROWS[1:]))]
    data = mtl.dataset("table", file=write(tmp_path, rows), tasks=TASKS, ignore=["id"], split="part")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [20, 10, 10]
    assert "part" not in " ".join(data.feature_names)
    bad = write(tmp_path, [row.replace("validation", "val") for row in rows])
    with pytest.raises(
        ValueError, match="row 3: column 'part' must be one of train, validation, test, got 'val'"
    ):
        mtl.dataset("table", file=bad, tasks=TASKS, ignore=["id"], split="part")


def test_rare_and_unseen_categories(tmp_path: Path) -> None:
    rows = ["hue,y", *(f"{hue},{k}" for k, hue in enumerate(["a"] * 20 + ["b"] * 10 + ["c"] * 3 + ["d"] * 2))]
    data = mtl.dataset("table", file=write(tmp_path, rows), tasks={"y": "regression"}, max_categories=2)
    assert data.feature_names == ("hue = a", "hue = b", "hue: other")
    for split in (data.train, data.validation, data.test):
        assert torch.equal(split.inputs.sum(dim=1), torch.ones(len(split)))


def test_categories_as_vectors_learn(tmp_path: Path) -> None:
    data = mtl.dataset(
        "table", file=write(tmp_path, ROWS), tasks=TASKS, ignore=["id"], categorical=["plan"], categories="embedding"
    )  # fmt: skip
    numbers, categories = data.train.inputs["numbers"], data.train.inputs["categories"]
    assert data.feature_names == ("age", "age: missing", "visits", "city", "plan")
    assert set(categories[:, 0].tolist()) == {1, 2, 3}  # missing, Bern, Oslo
    sizes = [int(n) + 1 for n in categories.amax(dim=0)]
    with mtl.seeded(0):
        backbone = mtl.backbone("embeddings", numbers=numbers.shape[1], sizes=sizes)
        model = mtl.MultiTaskModel(backbone, data.tasks)
    result = mtl.fit(model, data.train, data.validation, steps=60, batch_size=24, lr=0.02)
    assert mtl.evaluate(result.model, data.train)["churn"]["accuracy"] == 1.0  # plan tells it
    with pytest.raises(ValueError, match="no way to give categories 'vectors'"):
        mtl.dataset("table", file=tmp_path / "own.csv", tasks=TASKS, categories="vectors")


def test_parquet_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match=r"own\.parquet: reading Parquet needs polars; pip install"):
        mtl.dataset("table", file=write(tmp_path, ROWS, "own.parquet"), tasks=TASKS)


def test_the_same_file_and_seed_give_the_same_data(tmp_path: Path) -> None:
    file = write(tmp_path, ROWS)
    one, two, other = (mtl.dataset("table", file=file, tasks=TASKS, ignore=["id"], seed=s) for s in (0, 0, 1))
    assert one.fingerprint() == two.fingerprint() != other.fingerprint()


def test_packed_tabbed_and_parquet_files_give_the_same(tmp_path: Path) -> None:
    plain = mtl.dataset("table", file=write(tmp_path, ROWS), tasks=TASKS, ignore=["id"])
    with gzip.open(tmp_path / "own.csv.gz", "wt") as packed:
        packed.write("\n".join(ROWS))
    tabbed = write(tmp_path, [row.replace(",", "\t") for row in ROWS], "own.tsv")
    for file in (tmp_path / "own.csv.gz", tabbed):
        assert (
            mtl.dataset("table", file=file, tasks=TASKS, ignore=["id"]).fingerprint() == plain.fingerprint()
        )


def test_parquet_gives_what_the_csv_gives(tmp_path: Path) -> None:
    file = write(tmp_path, ROWS)
    read = polars.read_csv(file, null_values=["NA", "?"])
    assert {"Int64", "Float64", "String"} <= {str(kind) for kind in read.dtypes}
    read.with_columns(polars.col("city").cast(polars.Categorical)).write_parquet(tmp_path / "own.parquet")
    csv, parquet = (
        mtl.dataset("table", file=f, tasks=TASKS, ignore=["id"], categorical=["plan"])
        for f in (file, tmp_path / "own.parquet")
    )
    assert csv.feature_names == parquet.feature_names
    assert csv.tasks == parquet.tasks
    assert csv.fingerprint() == parquet.fingerprint()


def test_classes_of_a_parquet_file_keep_their_names_beside_gaps(tmp_path: Path) -> None:
    """pandas makes floats of whole numbers with gaps: classes 0.0 and 1.0."""
    file = tmp_path / "own.parquet"
    columns = {
        "grade": [0, 1, None, 1] * 5,
        "paid": [True, False, True, None] * 5,
        "x": [0.5, math.nan, 2, 1] * 5,
    }
    polars.DataFrame(columns, strict=False).write_parquet(file)
    data = mtl.dataset("table", file=file, tasks={"grade": "classification", "paid": "classification"})
    assert [task.class_names for task in data.tasks] == [("0", "1"), ("False", "True")]
    assert data.feature_names == ("x", "x: missing")


def test_parquet_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "own.parquet"
    polars.read_csv(write(tmp_path, ROWS)).write_parquet(file)
    whole = file.read_bytes()
    for damaged in (b"", b"id,age", whole[:100], whole[:-30], whole[:-8] + bytes(8)):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"own\.parquet cannot be read as Parquet: \w+") as error:
            mtl.dataset("table", file=file, tasks=TASKS)
        assert "\n" not in str(error.value)
    polars.DataFrame({"x": [], "churn": []}).write_parquet(file)
    with pytest.raises(ValueError, match=r"own\.parquet has no rows"):
        mtl.dataset("table", file=file, tasks=TASKS)
    with pytest.raises(FileNotFoundError, match=r"none\.parquet is not there"):
        mtl.dataset("table", file=tmp_path / "none.parquet", tasks=TASKS)


MISTAKES = [
    ({"tasks": {"churm": "classification"}}, "has no column churm; its columns: id, age"),
    ({"tasks": {"churn": "classify"}}, "no kind of task 'churn' 'classify'; did you mean 'classification'"),
    ({"tasks": {"churn": "regression"}}, "row 1: column 'churn' must be a finite number, got 'no'"),
    ({"tasks": {"id": "regression"}, "ignore": []}, "row 1: column 'id' must be a finite number, got 'c0'"),
    ({"tasks": {}}, "tasks is empty"),
    ({"auxiliary": ["spent"]}, "no task 'spent'; did you mean 'spend'"),
    ({"ignore": []}, r"column 'id' has 40 different texts in 40 rows.*ignore: \[id\]"),
    ({"split": "50/20"}, "split must be percent as in 60/20/20, or a column of id, age"),
    ({"split": "70/20/20"}, "add up to 100, got '70/20/20'"),
    ({"split": "98/1/1"}, "40 rows with a label are too few for a split of 98/1/1"),
    ({"ignore": ["id", "age", "city", "plan", "visits"]}, "no column is left for the inputs"),
    ({"ignore": ["id", "spend"]}, "column 'spend' is a task and is to be ignored"),
    ({"units": {"spent": "EUR"}}, "no task 'spent'; did you mean 'spend'"),
    ({"units": {"churn": "EUR"}}, "units: 'churn' is a classification, and classes have no unit"),
    ({"split": "churn"}, "column 'churn' tells the split and cannot be a task"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=lambda v: v if isinstance(v, str) else "")
def test_options_that_do_not_fit_the_file(tmp_path: Path, options: dict, message: str) -> None:
    file = write(tmp_path, ROWS)
    with pytest.raises(ValueError, match=message) as error:
        mtl.dataset("table", **{"file": file, "tasks": TASKS, "ignore": ["id"], **options})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*ROWS[:5], "c4,24,Oslo"], "row 5: 3 fields, the first line has 7; is the file cut off"),
        ([ROWS[0]], "has no rows"),
        ([], "has no rows"),
        (["a,a", "1,2"], "has two columns named 'a'"),
        ([*ROWS[:20], "c19,old,Oslo,1,1,no,3.5", *ROWS[20:]], "row 20: column 'age' must be a finite .*'old'"),
        ([*ROWS, "c40,3,Oslo,1,1,no,inf"], "row 41: column 'spend' must be a finite number, got 'inf'"),
        (
            [ROWS[0], *(f"c{k},1,Oslo,1,1,{k},1" for k in range(150))],
            "'churn' has 150 different values.*is it a regression",
        ),
        ([ROWS[0], *(f"c{k},1,Oslo,1,1,no,1" for k in range(9))], "has 1 different values.*nothing to tell apart"),
    ],
)  # fmt: skip
def test_files_that_are_not_what_they_should_be(tmp_path: Path, rows: list[str], message: str) -> None:
    file = write(tmp_path, rows)
    with pytest.raises(ValueError, match=message) as error:
        mtl.dataset("table", file=file, tasks=TASKS, ignore=["id"])
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_task_without_a_label_in_a_split_is_named(tmp_path: Path) -> None:
    rows = [
        "x,part,a,b",
        *(f"{k},{('train', 'validation', 'test')[k % 3]},{k},{k if k % 3 else ''}" for k in range(9)),
    ]
    file = write(tmp_path, rows)
    wrong = r"own\.csv: task 'b' has no label in the train split of 3 rows; its first label is in row 2"
    with pytest.raises(ValueError, match=wrong):
        mtl.dataset("table", file=file, tasks={"a": "regression", "b": "regression"}, split="part")
    rows = [row.replace("test", "train") for row in rows]
    with pytest.raises(ValueError, match=r"own\.csv: the test split has no rows"):
        mtl.dataset("table", file=write(tmp_path, rows), tasks={"a": "regression"}, split="part")


def test_a_class_without_a_training_row_is_named(tmp_path: Path) -> None:
    parts = ("train", "train", "validation", "test")
    rows = [
        "x,part,tier",
        *(f"{k},{parts[k % 4]},{'vip' if k in (7, 11) else ['lo', 'hi'][k % 2]}" for k in range(16)),
    ]
    how = {"file": write(tmp_path, rows), "tasks": {"tier": "classification"}, "split": "part"}
    with pytest.raises(
        ValueError, match=r"own\.csv, row 8: column 'tier' is 'vip' in the test split and in no"
    ):
        mtl.dataset("table", **how)
    write(tmp_path, [row.replace("12,train,lo", "12,train,vip") for row in rows])
    assert mtl.dataset("table", **how).tasks[0].class_names == ("hi", "lo", "vip")


def test_units_are_those_of_the_metrics(tmp_path: Path) -> None:
    file = write(tmp_path, ROWS)
    plain, told = (
        mtl.dataset("table", file=file, tasks=TASKS, ignore=["id"], units=units).tasks[1]
        for units in (None, {"spend": "EUR"})
    )
    assert [metric.unit for metric in told.metrics] == ["EUR", "EUR", "fraction"]
    assert plain.metrics[0].unit == "units of the target"


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv is not there"):
        mtl.dataset("table", file=tmp_path / "none.csv", tasks=TASKS)
    packed = tmp_path / "cut.csv.gz"
    packed.write_bytes(gzip.compress("\n".join(ROWS).encode())[:-40])
    with pytest.raises(ValueError, match=r"cut\.csv\.gz is cut off or damaged"):
        mtl.dataset("table", file=packed, tasks=TASKS)
    (tmp_path / "latin.csv").write_bytes("größe,y\n1,2\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.csv is not UTF-8"):
        mtl.dataset("table", file=tmp_path / "latin.csv", tasks={"y": "regression"})
