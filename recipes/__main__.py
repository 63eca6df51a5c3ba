"""``python -m recipes``: list the recipes, run one with its options, or one of the commands around them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from recipes import RECIPES
from recipes.command_line import parse, refuse_name_clash, say
from recipes.config import UsageError, dump_yaml, nearest
from recipes.signals import exit_status, interruptible

USAGE = """usage: python -m recipes RECIPE [options]    (python -m recipes RECIPE --help lists them)
       python -m recipes resume RUN [--allow-change NAME ...] [options]
       python -m recipes sweep RECIPE --space FILE --objective max:METRIC [options]
       python -m recipes doctor                     (what works on this machine)
       python -m recipes slurm --help               (--slurm sends a recipe or a sweep to a cluster)

Each recipe trains its variants with every seed and writes run directories and report.html to --out.
"""
COMMANDS: dict[str, str] = {
    "resume": "recipes.resume",
    "sweep": "recipes.sweep",
    "slurm": "recipes.slurm",
    "doctor": "recipes.doctor",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status (0; 1 a run failed; 2 usage; 130 Ctrl-C; 143 SIGTERM)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _main(arguments)
    except UsageError as error:
        sys.stderr.write(f"recipes: {error}\n")
        return 2
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("recipes: interrupted\n")
        return exit_status(interrupt)


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "list"):
        print(USAGE)
        for name, question in RECIPES.items():
            print(f"  {name:18} {question}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in RECIPES and name not in COMMANDS:
        raise UsageError(f"no recipe '{name}'; {nearest(name, [*RECIPES, *COMMANDS])}")
    if name in COMMANDS:
        return int(import_module(COMMANDS[name]).main(rest))
    refuse_name_clash()
    if "--slurm" in rest:
        from recipes.slurm import submit

        return submit([name, *rest])
    options, print_config = parse(name, rest)
    if print_config:
        print(dump_yaml(options), end="")
        return 0
    from recipes.runner import run_recipe

    with interruptible():
        command = ["python", "-m", "recipes", name, *rest]
        return run_recipe(name, options, command=command, say=say)


if __name__ == "__main__":
    sys.exit(main())
