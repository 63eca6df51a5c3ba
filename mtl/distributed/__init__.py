"""Several processes, one batch: started by torchrun, joined by `torch.distributed`."""

from mtl.distributed.losses import Losses, joined_values
from mtl.distributed.normalisation import joined_batch_norm
from mtl.distributed.ranks import Ranks, is_first, ranks
from mtl.distributed.share import share
from mtl.distributed.start import start

__all__ = ["Losses", "Ranks", "is_first", "joined_batch_norm", "joined_values", "ranks", "share", "start"]
