"""Feature windows at every 10 ms instead of only at video frames: what training draws from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.features import AHEAD, HOP, WIN, WINDOW, log_mel


def dense_mel(pcm: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mel frames of a recording with the silence before and after it that its windows need.

    pcm: (n,) float32 at 16 kHz. Returns (m, 80) float32; rows i ... i + 31 are the window of a video frame whose
    instant lies in the i-th 10 ms, so it equals `pipeline.features.windows_of` at the instants which that uses.
    """
    before = np.zeros((WINDOW - AHEAD) * HOP, np.float32)
    after = np.zeros(WINDOW * HOP + WIN, np.float32)
    return log_mel(np.concatenate([before, pcm, after]))[1:]
