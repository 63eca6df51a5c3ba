"""The command line: quick help, one line for a mistake, no torch, every option does what it says."""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import reports
from reports.__main__ import main
from tests.reports.make import three_variants

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return three_variants(tmp_path_factory.mktemp("made") / "runs", seeds=2, maps=False)


def python(code: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False, **options
    )


def test_help_answers_at_once_and_names_every_option() -> None:
    """Without the libraries that a report needs: those take longer than a second to import."""
    code = (
        "import sys; from reports.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'numpy', 'pandas', 'matplotlib', 'scipy', 'yaml', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    began = time.monotonic()
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 5  # a loaded machine; what it may import is the real guard
    names = ("where", "baseline", "reference", "title", "language", "against", "export", "max-maps", "out")
    assert all(f"--{name}" in done.stdout for name in names)
    assert "serve" in done.stdout


def test_a_report_needs_no_torch(root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from reports.__main__ import main\n"
        f"status = main([{str(root)!r}, '--out', {str(tmp_path / 'r.html')!r}])\n"
        "assert not {'torch', 'torchvision', 'captum', 'timm'} & set(sys.modules)\n"
        "sys.exit(status)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.html").is_file()


def test_choices_reach_the_report(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.html"
    chosen = ["--where", "variant=equal,upgrad", "--where", "seed<1", "--title", "Mine", "--language", "zh"]
    assert main([str(root), *chosen, "--baseline", "upgrad", "--reference", "equal", "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out)]
    report = reports.load(out)
    assert report.title == "Mine"
    assert report.language == "zh"
    assert report.variants == ["upgrad", "equal"]  # the baseline first
    assert report.seeds == {"upgrad": [0], "equal": [0]}
    again = next(s for s in report.sections if s.key == "reproduce").facts[0].values[0][1]
    assert again == (
        "python -m reports RUNS --where variant=equal,upgrad --where 'seed<1' --baseline upgrad --reference equal "
        "--title Mine --language zh --out report.html"
    )


def test_a_page_is_taken_in_place_of_runs(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, again = reports.build(root, tmp_path / "r.html"), tmp_path / "again.html"
    assert main([str(page), "--out", str(again)]) == 0
    assert again.read_bytes() == page.read_bytes()
    capsys.readouterr()
    for more in ([str(root)], ["--where", "seed<1"], ["--language", "zh"], ["--title", "x"]):
        assert main([str(page), *more, "--out", str(again)]) == 2
        assert "a report is given alone" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "told"), [
    (["--where", "seed>7"], "'seed>7' leaves none of 6 runs; seed: 0, 1"),
    (["--where", "sed=7"], "did you mean 'seed'"),
    (["--where", "seed"], "is no condition"),
    (["--baseline", "singl"], "did you mean 'single'"),
    (["--language", "fr"], "no texts in the language 'fr'; choose from: en, zh"),
    (["--max-maps", "0"], "max_maps must be >= 1, got 0"),
    (["--against", "nowhere"], "nowhere is not a folder"),
])  # fmt: skip
def test_a_mistake_is_one_line_and_status_2(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    out = tmp_path / "r.html"
    assert main([str(root), *options, "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert re.fullmatch(r"reports: [^\n]*\n", printed.err)
    assert told in printed.err
    assert printed.out == ""
    assert not out.exists()


def test_ctrl_c_is_status_130(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reports.building.compare", interrupted)
    assert main([str(root)]) == 130
    assert capsys.readouterr().err == "reports: interrupted\n"


def test_names_of_the_package_are_there_and_no_others() -> None:
    assert set(reports.__all__) <= set(dir(reports))
    assert all(getattr(reports, name) is not None for name in reports.__all__)
    with pytest.raises(AttributeError, match="module 'reports' has no attribute 'bild'"):
        _ = reports.bild
