"""From run directories to a report, and to its file."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from reports.against import with_changes
from reports.codec import decode, encode
from reports.document import Report
from reports.files import write_whole
from reports.filters import selected
from reports.joining import gathered, joined
from reports.loading import MARK, load
from reports.page import render
from reports.reading import Run
from reports.sections import SECTIONS
from reports.sizes import fitted, put
from reports.tables import Experiment
from reports.wording import Say

MAX_MAPS = 1000  # in the gallery, where nothing else is asked for


def compare(
    runs: str | Path | Iterable[str | Path],
    *,
    where: str | Iterable[str] = (),
    baseline: str | None = None,
    reference: str | None = None,
    title: str | None = None,
    language: str = "en",
    against: str | Path | None = None,
    max_maps: int | None = None,
) -> Report:
    """The comparison report of any set of runs, as data.

    Args:
        runs: a folder that holds run directories, at any depth, or several; a directory counts once.
        where: conditions that a run must fulfil to take part, e.g. ``variant=equal,upgrad`` or ``seed<3``; see
            `reports.filters`.
        baseline, reference: the variants that Δm is measured against, and that is the plain sum; those of the
            experiment where None.
        title: of the page; the experiment's name where None.
        language: of its texts: ``en`` or ``zh``.
        against: an older report, or a folder of runs: a section says what changed since.
        max_maps: how many maps the gallery shows at most; `MAX_MAPS` where None.

    Raises:
        ValueError: no run there or none left, a condition or name that is not known, runs that cannot be told apart,
            an older report that cannot be read, or an unknown language.

    >>> compare("nowhere")
    Traceback (most recent call last):
    ValueError: no run directory: nowhere is not a folder
    """
    say = Say(language)
    where = [where] if isinstance(where, str) else list(where)
    if max_maps is not None and max_maps < 1:
        raise ValueError(f"max_maps must be >= 1, got {max_maps}")
    found, warnings = joined(selected(gathered(runs), where), say, baseline=baseline, reference=reference)
    chosen: dict[str, Sequence[object]] = {
        "--where": where,
        "--baseline": [baseline],
        "--reference": [reference],
        "--title": [title],
        "--language": [language if language != "en" else None],
        "--max-maps": [max_maps],
    }
    experiment = Experiment(
        found, max_maps=MAX_MAPS if max_maps is None else max_maps, command=_command(chosen)
    )
    tasks, seeds = experiment.tasks, {run.seed for run in experiment.done}
    scope = say(
        "page.scope",
        tasks=say.count("task", len(tasks)),
        variants=say.count("variant", len(experiment.variants)),
        seeds=say.count("seed", len(seeds)),
        runs=say.count("run", len(found)),
    )
    report = Report(
        title=title or experiment.name,
        question=experiment.question,
        scope=scope,
        language=language,
        variants=experiment.variants,
        warnings=[*_unfinished(found, say), *warnings],
        sections=[section(experiment, say) for section in SECTIONS],
        tasks=tasks,
        seeds={variant: [run.seed for run in experiment.of(variant)] for variant in experiment.variants},
        prints={variant: list(map(_print, experiment.of(variant))) for variant in experiment.variants},
    )
    report = decode(encode(report), Report)  # numpy's numbers become Python's: it equals what is loaded back
    return report if against is None else since(report, against, where=where, max_maps=max_maps)


def since(
    report: Report,
    against: str | Path,
    *,
    where: str | Iterable[str] = (),
    max_maps: int | None = None,
) -> Report:
    """The report with a section that says what changed since an older one.

    Args:
        report: the new one.
        against: the page of the older one, or a folder of runs, of which those are taken for which ``where`` holds.
        where, max_maps: as for `compare`.

    Raises:
        ValueError: as `compare` and `load`.
    """
    page = Path(against)
    older = (
        load(page)
        if page.is_file()
        else compare(page, where=where, language=report.language, max_maps=max_maps)
    )
    return with_changes(report, older, page.name, Say(report.language))


def build(
    runs: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    where: str | Iterable[str] = (),
    baseline: str | None = None,
    reference: str | None = None,
    title: str | None = None,
    language: str = "en",
    against: str | Path | None = None,
    max_maps: int | None = None,
) -> Path:
    """Write the comparison report of any set of runs.

    The page is one file, and holds everything it shows; the same runs give the same bytes. Runs that did not finish are
    named and take no part in any number.

    Args:
        out: the HTML file; its folder is made. Only an older report is overwritten.
        runs, where, baseline, reference, title, language, against, max_maps: as for `compare`.

    Returns:
        ``out`` as a path.

    Raises:
        ValueError: as `compare`, or ``out`` is something else than a report.

    >>> build("nowhere", "report.html")
    Traceback (most recent call last):
    ValueError: no run directory: nowhere is not a folder
    """
    refuse_foreign(Path(out))
    report = compare(
        runs, where=where, baseline=baseline, reference=reference, title=title, language=language,
        against=against, max_maps=max_maps,
    )  # fmt: skip
    return write(report, Path(out))


def write(report: Report, file: Path) -> Path:
    """Write the page under a temporary name, then in place of ``file``; a very large one's pictures beside it."""
    refuse_foreign(file)
    folder = file.with_name(f"{file.stem}_assets")
    text, pictures = fitted(render(report), folder.name, Say(report.language))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        put(pictures, folder)
        write_whole(file, text.encode())
    except OSError as error:
        raise ValueError(f"cannot write {file}: {error.strerror}") from error
    return file


def _unfinished(runs: list[Run], say: Say) -> list[str]:
    unfinished = [run for run in runs if run.status != "done"]
    if not unfinished:
        return []
    told = [
        f"{run.path.name} ({run.status}{': ' if run.info['error'] else ''}{run.info['error']})"
        for run in unfinished
    ]
    which = say("words.semicolon").join(told)
    runs_in_all = say.count("run", len(runs))
    return [say("page.unfinished", unfinished=len(unfinished), runs=runs_in_all, which=which)]


def _command(chosen: Mapping[str, Sequence[object]]) -> str:
    """What makes the same report again, from the folder of its runs.

    >>> _command({"--where": ["seed<3"], "--title": [None]})
    "python -m reports RUNS --where 'seed<3' --out report.html"
    """
    words = [
        word
        for name, values in chosen.items()
        for value in values
        if value is not None
        for word in (name, value)
    ]
    return shlex.join(["python", "-m", "reports", "RUNS", *map(str, words), "--out", "report.html"])


def _print(run: Run) -> str:
    """What the run recorded, as a number: the same for a copy of the run, wherever it lies."""
    try:
        return sha256(b"%d " % run.seed + (run.path / "metrics.jsonl").read_bytes()).hexdigest()[:16]
    except OSError:  # told under the run's remarks
        return ""


def refuse_foreign(file: Path) -> None:
    """Raise where ``file`` exists and is not a report of ours."""
    if file.is_dir():
        raise ValueError(f"{file} is a folder; give a file, e.g. {file / 'report.html'}")
    try:
        if file.exists() and MARK not in file.read_text(encoding="utf-8", errors="replace")[:2000]:
            raise ValueError(f"{file} exists and is not a report; choose another --out (nothing was changed)")
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}") from error
