"""Between tasks: do they use the same evidence, where do they differ, where do they pull apart?"""

from explain.between.contrast import contrast
from explain.between.overlap import overlap

__all__ = ["contrast", "overlap"]
