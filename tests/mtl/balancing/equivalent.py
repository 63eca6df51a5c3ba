"""Mutants that nobody can notice."""

EQUIVALENT: dict[str, dict[str, str]] = {}
