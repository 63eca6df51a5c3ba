"""What the commands share: parsing a recipe's options, and the check of the packages' names. No torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from recipes import RECIPES
from recipes.config import UsageError, load_yaml, nearest

C = TypeVar("C")


def parse(
    name: str, arguments: Sequence[str], doc: str = "", *, start: Any = None, program: str = ""
) -> tuple[Any, bool]:
    """The recipe's options and whether to print them: defaults (or ``start``), each ``--config FILE``, then flags."""
    kind = recipe_options(name)
    default, print_config, rest = kind() if start is None else start, False, list[str]()
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag == "--config":
            file = value if equals else next(words, "")
            if not file:
                raise UsageError("--config needs a file")
            default = load_yaml(Path(file), kind, default)
        elif word == "--print-config":
            print_config = True
        else:
            rest.append(word)
    doc = doc or (
        f"{kind.__doc__}\n\nAlso: --config FILE reads options from YAML (flags win over it); "
        "--print-config prints the resolved options as such a file and ends; "
        "--slurm sends the runs to a Slurm cluster (python -m recipes slurm --help)."
    )
    options, _ = flags(kind, rest, f"python -m recipes {program or name}", doc, default=default)
    return options, print_config


def recipe_options(name: str) -> Any:
    """The class of a recipe's options.

    Raises:
        UsageError: there is no such recipe.
    """
    if name not in RECIPES:
        raise UsageError(f"no recipe '{name}'; {nearest(name, RECIPES)}")
    return import_module(f"recipes.{name}").Options


def flags(
    kind: type[C],
    arguments: Sequence[str],
    program: str,
    doc: str,
    *,
    default: C | None = None,
    others: bool = False,
) -> tuple[C, list[str]]:
    """``kind`` from flags, and (with ``others``) the words that are none of its flags; a mistake ends the program."""
    import tyro

    words = list(arguments)
    how: dict[str, Any] = {} if default is None else {"default": default}
    try:
        if others:
            found, rest = tyro.cli(
                kind, args=words, prog=program, description=doc, return_unknown_args=True, **how
            )
            return found, list(rest)
        return tyro.cli(kind, args=words, prog=program, description=doc, **how), []
    except SystemExit as end:  # tyro has printed its message or the help
        raise SystemExit(0 if not end.code else 2) from None


def name_clashes() -> list[str]:
    """One line for each of the four packages that Python finds elsewhere: other distributions use these names too."""
    root = Path(__file__).resolve().parent.parent
    clashes = []
    for package in ("mtl", "explain", "reports", "recipes"):
        spec = find_spec(package)
        if spec is None or spec.origin is None or Path(spec.origin).resolve().parent.parent != root:
            owners = packages_distributions().get(package, [])
            clashes.append(
                f"the package '{package}' that Python finds is not Candelabra's "
                f"({'it belongs to ' + ', '.join(owners) if owners else 'it is a folder on the path'}); "
                "use a fresh virtual environment, or another working directory"
            )
    return clashes


def refuse_name_clash() -> None:
    """Raise UsageError where `name_clashes` finds one (an old torchtune has `recipes`)."""
    for clash in name_clashes():
        raise UsageError(clash)


def say(line: str) -> None:
    """A line on standard output, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
