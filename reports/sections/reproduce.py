"""How to get each number again: the command of each variant, the file and line of each score, this report itself."""

from __future__ import annotations

import shlex

from reports.cells import number_cell
from reports.document import Cell, Fact, Section, Table, cells
from reports.places import places
from reports.reading import Run
from reports.sections.provenance import commit_of
from reports.tables import Experiment, select
from reports.wording import Say

MAX_ROWS = 1000  # scores told line by line; of more, the main metrics alone
SOURCES = ("scores", "learning", "conflict", "cost", "maps", "map_scores", "sanity")


def reproduce(experiment: Experiment, say: Say) -> Section:
    """A command for each variant, where the numbers of each section come from, and the line of each score."""
    if not experiment.done:
        return Section("reproduce", say("reproduce.heading"), missing=say("reproduce.missing"))
    place = dict(zip([id(run) for run in experiment.runs], places(experiment.runs), strict=True))
    facts = [Fact(say("reproduce.report"), [("", experiment.command)])]
    for variant in experiment.variants:
        runs = experiment.of(variant)
        if runs:
            folders = [place[id(run)] for run in runs]
            facts.append(Fact(say("reproduce.variant", variant=variant), _again(runs, folders, say)))
    rows: list[list[str | Cell]] = [
        [say(f"reproduce.{key}"), say(f"reproduce.{key}_file"), say(f"reproduce.{key}_how")]
        for key in SOURCES
    ]
    sources = Table(
        "sources",
        say("reproduce.sources"),
        say("reproduce.sources_columns").split("|"),
        cells(rows),
        labels=3,
    )
    lines, notes = _lines(experiment, place, say)
    notes += _uncommitted(experiment, say)
    return Section(
        "reproduce",
        say("reproduce.heading"),
        say("reproduce.intro"),
        tables=[sources],
        facts=facts,
        more=[lines],
        notes=notes,
    )


def _again(runs: list[Run], folders: list[str], say: Say) -> list[tuple[str, str]]:
    """The command that trains a variant again with all of its seeds, and the code that it ran on."""
    command = [str(word) for word in runs[0].info["command"]]
    recipe = str(runs[0].info["experiment"]["name"])
    typed = "recipes" in command and recipe in command[command.index("recipes") :]
    if typed and runs[0].config:  # config.yaml names the variant; flags win over it
        seeds = [str(run.seed) for run in runs]
        words = ["--config", f"RUNS/{folders[0]}/config.yaml", "--seeds", *seeds, "--out", "again"]
        told = shlex.join(["python", "-m", "recipes", recipe, *words])
    else:
        told = shlex.join(command) or say("reproduce.no_command")
    commits = dict.fromkeys(commit_of(run.info, say) for run in runs)
    code = say("reproduce.code", commits=say("words.comma").join(commits))
    return [("", f"{told}\n{code}")]


def _lines(experiment: Experiment, place: dict[int, str], say: Say) -> tuple[Table, list[str]]:
    """Every score of the tables with the line of ``metrics.jsonl`` that holds it."""
    frame, notes = experiment.scores, []
    if len(frame) > MAX_ROWS:
        notes.append(say("reproduce.main_only", rows=len(frame)))
        main = {(info.task, info.name) for info in experiment.metrics if info.main}
        kept = [key in main for key in zip(frame["task"], frame["metric"], strict=True)]
        frame = frame[kept]
    unit = {(info.task, info.name): info.unit for info in experiment.metrics}
    runs = {(run.variant, run.seed): run for run in experiment.done}
    rows: list[list[str | Cell]] = []
    keys = zip(
        *(frame[name].tolist() for name in ("variant", "seed", "task", "metric", "split")), strict=True
    )
    for (variant, seed, task, metric, split), value in zip(keys, frame["value"].tolist(), strict=True):
        run = runs[variant, seed]
        found = select(run.metrics, task=task, metric=metric, split=split)
        line = run.metric_lines[found.index[-1]]
        score = number_cell(say, value, unit.get((task, metric), ""))
        file = f"{place[id(run)]}/metrics.jsonl"
        rows.append([variant, str(seed), task, metric, split, score, file, Cell(str(line), line)])
    columns = say("reproduce.lines_columns").split("|")
    return Table("score-lines", say("reproduce.lines"), columns, cells(rows), labels=5), notes


def _uncommitted(experiment: Experiment, say: Say) -> list[str]:
    runs = experiment.done
    dirty = [run for run in runs if run.info.get("dirty")]
    commits = {str(run.info["commit"]) for run in runs if run.info.get("commit")}
    notes = []
    if dirty:
        notes.append(say("reproduce.dirty", dirty=len(dirty), runs=say.count("run", len(runs))))
    if len(commits) > 1:
        notes.append(say("reproduce.commits", commits=len(commits)))
    return notes
