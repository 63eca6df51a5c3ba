"""``python -m recipes sweep``: from the command line (`plan`) over the trials (`search`) to what was found (`results`).

`space` and `objective` read what is searched and for what, `storage` and `trials` keep the workers of one sweep apart.
"""

from recipes.sweep.plan import main

__all__ = ["main"]
