"""Between tasks: do they use the same evidence, where do they differ, where do they pull apart?"""

from explain.between.conflict import Conflict, conflict
from explain.between.contrast import contrast
from explain.between.deletion import cross_deletion
from explain.between.overlap import overlap
from explain.between.sharing import channel_sharing

__all__ = ["Conflict", "channel_sharing", "conflict", "contrast", "cross_deletion", "overlap"]
