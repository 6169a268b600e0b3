"""A moving average of a net's weights: what is exported, steadier than the last step."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

_LONGEST: Final = 0.998
_WARM_UP: Final = 20


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, step: int) -> None:
    """Moves `average` towards `net`, the slower the more steps there have been (early weights mean little)."""
    keep = min(_LONGEST, step / (step + _WARM_UP))
    for mine, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(new, 1.0 - keep)
        else:
            mine.copy_(new)
