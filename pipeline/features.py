"""Streaming log-mel features: 16 kHz sound in, one window per video frame out."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SAMPLE_RATE: Final = 16_000
HOP: Final = 160
"""10 ms between mel frames."""
WIN: Final = 400
"""25 ms under each mel frame; mel frame m covers samples [160 m, 160 m + 400)."""
N_FFT: Final = 512
N_MELS: Final = 80
F_MIN_HZ: Final = 60.0
F_MAX_HZ: Final = 7_600.0
WINDOW: Final = 32
"""Mel frames in one window (320 ms)."""
AHEAD: Final = 8
"""Mel frames of a window that begin after the video frame's own instant."""
LOOKAHEAD_S: Final = (AHEAD * HOP + WIN) / SAMPLE_RATE
"""Sound needed after a video frame's instant before its window is complete: 105 ms."""
FLOOR: Final = 1e-6
"""Mel power below which everything is silence (about -60 dB under a full-scale sine's band)."""

Float32 = npt.NDArray[np.float32]


def _hz_to_mel(hz: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0), np.float64)


def mel_filter_bank() -> Float32:
    """Triangular filters on the HTK mel scale, unit peak: shape (N_MELS, N_FFT // 2 + 1), float32."""
    edges_mel = np.linspace(_hz_to_mel(F_MIN_HZ), _hz_to_mel(F_MAX_HZ), N_MELS + 2)
    edges = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    bins = np.fft.rfftfreq(N_FFT, 1.0 / SAMPLE_RATE)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


_FILTERS_T: Final = np.ascontiguousarray(mel_filter_bank().T)
_HANN: Final = (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WIN) / WIN)).astype(np.float32)
# Brings log power of speech near zero mean and unit variance; silence is exactly SILENCE.
_LOG_MEAN: Final = -4.0
_LOG_SCALE: Final = 1.0 / 4.0
SILENCE: Final = float((np.log(np.float32(FLOOR)) - _LOG_MEAN) * _LOG_SCALE)


def log_mel(pcm: Float32) -> Float32:
    """Every complete mel frame of a piece of sound, scaled to about [-2.5, 2.5].

    pcm: (n,) float32 in [-1, 1] at 16 kHz. Returns (m, 80) float32 with m = (n - 400) // 160 + 1, or 0 rows.
    """
    count = (len(pcm) - WIN) // HOP + 1
    if count <= 0:
        return np.empty((0, N_MELS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(pcm, WIN)[: (count - 1) * HOP + 1 : HOP]
    spectrum = np.fft.rfft(frames * _HANN, N_FFT, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    mel: Float32 = np.log(np.maximum(power @ _FILTERS_T, np.float32(FLOOR)))
    return (mel - np.float32(_LOG_MEAN)) * np.float32(_LOG_SCALE)


def centre_of(window: int, fps: int) -> int:
    """The mel frame that begins at or just before the instant of a video frame: floor(100 * window / fps)."""
    return window * (SAMPLE_RATE // HOP) // fps


def windows_of(pcm: Float32, fps: int) -> Float32:
    """All windows of a whole recording, with silence before and after it: (frames, 32, 80) float32.

    The yardstick of FeatureExtractor, and what training reads.
    """
    frames = -(-len(pcm) * fps // SAMPLE_RATE)
    before = (WINDOW - AHEAD) * HOP
    after = WINDOW * HOP + WIN
    mel = log_mel(np.concatenate([np.zeros(before, np.float32), pcm, np.zeros(after, np.float32)]))
    starts = [centre_of(n, fps) + 1 for n in range(frames)]
    return np.stack([mel[s : s + WINDOW] for s in starts]) if starts else np.empty((0, WINDOW, N_MELS), "f4")


class FeatureExtractor:
    """Log-mel windows of one session's sound, made as the sound arrives.

    Sound is a gapless run of 16 kHz samples on the session's timeline; window n belongs to the instant n / fps
    and holds the mel frames centre - 23 ... centre + 8. What came before the first sample counts as silence.
    The result equals `windows_of` on the whole recording.
    """

    lookahead_s: Final = LOOKAHEAD_S

    def __init__(self, fps: int) -> None:
        self._fps = fps
        self.reset(0)

    def reset(self, window: int) -> None:
        """Forgets everything and goes on with silence up to the instant of a window, which comes out next."""
        self._next_window = window
        self._position = window * SAMPLE_RATE // self._fps
        # Mel frames begin on the grid of hops; the first ones reach back over silence.
        self._first = self._position // HOP - (WIN - 1) // HOP
        self._pcm = np.zeros(self._position - self._first * HOP, np.float32)
        self._mel = np.full((WINDOW, N_MELS), SILENCE, np.float32)

    @property
    def position(self) -> int:
        """The next sample expected, in 16 kHz samples from the start of the timeline."""
        return self._position

    def push(self, pcm: Float32) -> None:
        """Takes the next samples: (n,) float32 in [-1, 1] at 16 kHz."""
        self._position += len(pcm)
        self._pcm = np.concatenate([self._pcm, pcm])
        fresh = log_mel(self._pcm)
        if len(fresh):
            self._mel = np.concatenate([self._mel, fresh])
            self._first += len(fresh)
            self._pcm = self._pcm[len(fresh) * HOP :]

    def next_window(self) -> tuple[int, Float32] | None:
        """The next complete window as (number, (32, 80) float32), or None until more sound is pushed."""
        end = centre_of(self._next_window, self._fps) + AHEAD + 1
        if end > self._first:
            return None
        start = len(self._mel) - (self._first - end) - WINDOW
        window = self._mel[start : start + WINDOW].copy()
        self._mel = self._mel[max(0, start) :]
        number = self._next_window
        self._next_window += 1
        return number, window
