"""What the commands share: parsing a recipe's options, Ctrl-C, and the check of the packages' names. No torch."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from recipes import RECIPES
from recipes.config import UsageError, load_yaml, nearest

C = TypeVar("C")


def parse(name: str, arguments: Sequence[str], doc: str = "") -> tuple[Any, bool]:
    """The recipe's options: defaults, then each ``--config FILE`` in turn, then flags; and whether to print them."""
    kind = recipe_options(name)
    default, print_config, rest = kind(), False, []
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
    options, _ = flags(kind, rest, f"python -m recipes {name}", doc, default=default)
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


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM raise KeyboardInterrupt, once."""
    from recipes.workers import interrupt_once

    # one thread pool a run: set before torch is imported, in this process and its children
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    before = {number: signal.signal(number, interrupt_once) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is interrupt_once:  # else this process was interrupted, and ends
                signal.signal(number, handler)


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
