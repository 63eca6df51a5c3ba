"""Options: strict YAML, exact round trip, one clear line for every mistake."""

import dataclasses
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipes import RECIPES
from recipes.__main__ import main
from recipes.config import UsageError, dump_yaml, load_yaml
from recipes.multimnist import Options

ROOT = Path(__file__).parents[2]


@given(
    st.builds(
        Options,
        out=st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\"), min_size=1).map(
            Path
        ),
        seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True).map(tuple),
        workers=st.integers(0, 64),
        variants=st.lists(st.sampled_from(["single", "no", "1e-3", "null"]), min_size=1, unique=True).map(
            tuple
        ),
        lr=st.floats(1e-12, 1e12),
        steps=st.integers(1, 10**9),
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_print_config_reads_back_as_the_same_options(tmp_path: Path, options: Options) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(dump_yaml(options), encoding="utf-8")
    assert load_yaml(file, Options) == options


@pytest.mark.parametrize("name", RECIPES)
def test_every_option_of_every_recipe_has_its_comment(name: str) -> None:
    options = import_module(f"recipes.{name}").Options()
    text = dump_yaml(options)
    assert text.count("\n# ") + text.startswith("# ") == len(dataclasses.fields(options))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 3\nstep: 4\n", "line 2: no option 'step'; did you mean 'steps'"),
        ("steps: many\n", "line 1: steps must be int, got 'many'"),
        ("steps: true\n", "steps must be int, got True"),
        ("steps: 1.5\n", "steps must be int, got 1.5"),
        ("seeds: 3\n", "seeds must be a list, got int"),
        ("seeds: [a]\n", "seeds must be int, got 'a'"),
        ("lr: fast\n", "lr must be float, got 'fast'"),
        ("steps: 1\nsteps: 2\n", "line 2: option 'steps' is given twice"),
        ("- steps\n", "must hold `option: value` lines"),
        ("steps: [1\n", "is not valid YAML"),
        ("out: !!python/object/apply:os.system ['true']\n", "is not valid YAML"),
        ("steps: 0\n", "steps must be at least 1, got 0"),
        ("lr: .nan\n", "lr must be a number above 0, got nan"),
        ("seeds: []\n", "seeds must be one or more different numbers"),
        ("? [a]\n: 1\n", "is not valid YAML"),
    ],
)
def test_yaml_mistakes_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        load_yaml(file, Options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    """PyYAML alone reads 1e-3 as a string."""
    file = tmp_path / "config.yaml"
    file.write_text("lr: 1e-3\n")
    assert load_yaml(file, Options).lr == 0.001
    file.write_text("lr: 1\n")
    assert load_yaml(file, Options).lr == 1.0


def test_flags_win_over_files_and_files_over_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("steps: 7\nlr: 0.5\n")
    second.write_text("steps: 8\n")
    line = ["multimnist", "--config", str(first), f"--config={second}", "--batch-size", "3", "--print-config"]
    assert main(line) == 0
    text = capsys.readouterr().out
    assert "steps: 8" in text
    assert "lr: 0.5" in text
    assert "batch_size: 3" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["multimnst"], "no recipe 'multimnst'; did you mean 'multimnist'"),
        (["multimnist", "--config", "no-such.yaml"], "cannot read no-such.yaml"),
        (["multimnist", "--config"], "--config needs a file"),
        (["multimnist", "--variants", "upgrd"], "variants: no 'upgrd' there; did you mean 'upgrad'"),
        (["multimnist", "--methods", "grad"], "methods: no 'grad' there; did you mean"),
        (["multimnist", "--device", "cuda:99"], "device 'cuda:99' cannot be used here"),
        (["multimnist", "--device", "gpu"], "device 'gpu' cannot be used here"),
        (["cnn", "--seeds", "1", "1"], "seeds must be one or more different numbers"),
        (["cnn", "--variants", "articel"], "did you mean 'article'"),
        (["linear_regression", "--steps", "0"], "steps must be at least 1"),
    ],
)
def test_usage_mistakes_end_with_status_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_mistyped_flags_end_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["multimnist", "--step", "3"])
    assert end.value.code == 2
    assert "--steps" in capsys.readouterr().err


def test_a_non_empty_output_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    assert main(["linear_regression", "--out", str(tmp_path)]) == 2
    assert "is not empty; choose another --out" in capsys.readouterr().err
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("mine.txt", "precious")]
    assert main(["linear_regression", "--out", str(mine)]) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["multimnist", "--help"], ["cnn", "--stesp", "1"]])
def test_help_and_mistakes_do_not_wait_for_torch(words: list[str]) -> None:
    """The module list, not the clock: torch takes seconds to import."""
    code = (
        "import sys; from recipes.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, 'pandas' in sys.modules)"
    )
    start = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.splitlines()[-1] == "False False"
    assert time.monotonic() - start < 30


def test_the_list_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text and question in text for name, question in RECIPES.items())
    assert all((ROOT / "recipes" / f"{name}.py").is_file() for name in RECIPES)


def test_a_foreign_package_of_our_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "explain").mkdir()
    (tmp_path / "explain" / "__init__.py").write_text("")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from recipes.__main__ import main; sys.exit(main(['cnn']))"
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 2
    assert "the package 'explain' that Python finds is not Candelabra's" in result.stderr
