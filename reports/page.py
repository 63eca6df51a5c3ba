"""From run directories to one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports import sections
from reports.figures import looks
from reports.gallery import gallery
from reports.reading import Run, read_runs
from reports.tables import Experiment
from reports.trust import trust
from reports.verdict import findings
from reports.wording import count

MARK = '<meta name="generator" content="candelabra report">'  # by this an older report of ours is known

# sections that are left out, and named at the end, where there is nothing to show
OPTIONAL = {
    "learning": "learning curves",
    "conflict": "gradient conflict",
    "cost": "cost",
    "localisation": "localisation",
}


def build(runs: str | Path, out: str | Path, *, title: str | None = None) -> Path:
    """Write the comparison report of all runs in a folder.

    The page is one file without scripts, and holds everything it shows; the same runs give the same bytes. Runs that
    did not finish are named and take no part in any number.

    Args:
        runs: a folder that holds run directories of one experiment, at any depth.
        out: the HTML file; its folder is made. Only an older report is overwritten.
        title: of the page; the experiment's name where None.

    Returns:
        ``out`` as a path.

    Raises:
        ValueError: no run there, runs of several experiments, or ``out`` is something else than a report.

    >>> build("nowhere", "report.html")
    Traceback (most recent call last):
    ValueError: no run directory: nowhere is not a folder
    """
    file = Path(out)
    found = read_runs(runs)
    names = sorted({str(run.info["experiment"]["name"]) for run in found})
    if len(names) > 1:
        raise ValueError(
            f"{runs} holds runs of {len(names)} experiments ({', '.join(names)}); give the folder of one"
        )
    _refuse_foreign(file)
    text = render(found, title)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(file.name + ".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        raise ValueError(f"cannot write {file}: {error.strerror}") from error
    return file


def render(runs: list[Run], title: str | None = None) -> str:
    """The page as text."""
    experiment = Experiment(runs)
    classes = {
        str(task["name"]): [str(name) for name in task.get("classes") or []]
        for run in runs
        for task in run.info["tasks"]
    }
    shown = [experiment.of(variant)[0] for variant in experiment.variants if experiment.of(variant)]
    content: dict[str, Any] = {
        "title": title or experiment.name,
        "question": experiment.question,
        "findings": findings(experiment),
        "unfinished": [run for run in runs if run.status != "done"],
        "total": len(runs),
        "seeds": sorted({run.seed for run in experiment.done}),
        "tasks": experiment.tasks,
        "legend": [(name, *look) for name, look in looks(experiment.variants).items()],
        "scores": sections.scores(experiment),
        "learning": sections.learning(experiment),
        "conflict": sections.conflict(experiment),
        "ways": sections.ways(experiment),
        "cost": sections.cost(experiment),
        "gallery": gallery(shown, classes),
        "localisation": sections.localisation(experiment),
        "trust": trust(experiment),
        "mark": Markup(MARK),
        "count": count,
    }
    content["absent"] = [
        (name, content[key].missing) for key, name in OPTIONAL.items() if content[key].missing
    ]
    # last: by now every file of every run was read, and its problems are known
    content["runs"], content["facts"] = sections.provenance(runs)
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawn"] = Markup  # for our own SVG only
    return environment.get_template("page.html").render(content)


def _refuse_foreign(file: Path) -> None:
    """Raise where ``file`` exists and is not a report of ours."""
    if file.is_dir():
        raise ValueError(f"{file} is a folder; give a file, e.g. {file / 'report.html'}")
    try:
        if file.exists() and MARK not in file.read_text(encoding="utf-8", errors="replace")[:2000]:
            raise ValueError(f"{file} exists and is not a report; choose another --out (nothing was changed)")
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}") from error
