"""What a caller gets: frame rate, latency and lip-sync, measured from received media."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from pipeline.avatar import Avatar, Box
from pipeline.render import render
from tests.peer import RATE, Int16, Peer

GRID = 200
"""Samples a second of the series that are compared: 5 ms."""
SEARCH_S = 0.6
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Call:
    seconds: float
    fps: float
    interval_p95_ms: float
    interval_max_ms: float
    freezes: int
    """Intervals over 150 ms."""
    sound_gaps: int
    """Packets missing in the returned sound."""
    answer_ms: float
    voice_p50_ms: float
    """A sample spoken -> the same sample received, over windows of two seconds."""
    voice_p95_ms: float
    picture_p50_ms: float
    """A sample spoken -> the picture that belongs to it received."""
    skew_p50_ms: float
    """Picture after sound (positive) or before it."""
    skew_worst_ms: float
    mouth_correlation: float
    """Mouth opening in received pictures against the envelope of the speech."""
    silence_opening: float
    """Mouth opening in silence, as a share of its 95th percentile in speech."""
    drops: dict[str, int]


class Openness:
    """How much dark mouth interior shows: the share of dark pixels between the lips, from one picture's luma."""

    DARK = 60.0
    SOFT = 12.0

    def __init__(self, boxes: tuple[Box, ...]) -> None:
        x0, y0, x1, y1 = (round(float(v)) for v in np.mean(boxes, axis=0))
        w, h = x1 - x0, y1 - y0
        self._area = (
            slice(y0 + round(0.28 * h), y0 + round(0.72 * h)),
            slice(x0 + round(0.3 * w), x1 - round(0.3 * w)),
        )

    def __call__(self, frame: av.VideoFrame) -> np.float64:
        luma = frame.to_ndarray(format="yuv420p")[: frame.height][self._area].astype(np.float64)
        return np.float64((1.0 / (1.0 + np.exp((luma - self.DARK) / self.SOFT))).mean())


def reference(avatar: Avatar, speech: Int16, fps: int, look: Openness) -> Float:
    """The mouth opening of every frame as an offline rendering shows it, frame n at n / fps of the speech."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "speech.wav", Path(folder) / "speech.mp4"
        write_wav(source, speech)
        render(avatar, source, target, fps=fps)
        with av.open(str(target)) as container:
            return np.array([look(frame) for frame in container.decode(video=0)])


def write_wav(path: Path, sound: Int16) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        for at in range(0, len(sound), RATE):
            frame = av.AudioFrame.from_ndarray(sound[at : at + RATE].reshape(1, -1), format="s16", layout="stereo")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


async def place_call(url: str, speech: Int16, look: Openness) -> tuple[Peer, dict[str, int]]:
    """Speaks once through the clip in real time; returns the peer with what it received, and the server's drops."""
    async with Peer(url, speech, look=look) as peer:
        await asyncio.sleep(len(speech) / RATE + 1.0)
        stats = await peer.stats()
    return peer, stats["drops"]


def figures_of(peer: Peer, drops: dict[str, int], speech: Int16, expected: Float, fps: int) -> Call:
    """What a finished call was like. expected: see reference. Takes seconds: not while another call goes on."""
    seconds = len(speech) / RATE
    assert peer.track.started is not None
    got, spoken = peer.received, peer.track.started
    intervals = np.diff(got.video_times)
    envelope = envelope_of(speech[:, 0])
    heard = got.sound_from(spoken)
    voice = np.array([_sound_lag(speech[:, 0], heard, at) for at in _speaking_seconds(envelope)])
    instants = np.arange(len(expected)) / fps
    seen_at = np.array(got.video_times) - spoken
    opening = np.array(got.pictures, np.float64)
    grid = np.arange(0.0, seconds, 1.0 / GRID)
    wanted = np.interp(grid, instants, expected)
    picture = _lags(wanted, lambda t: np.interp(t, seen_at, opening), grid)
    shift = float(np.median(picture))
    shown = np.interp(grid + shift, seen_at, opening)
    loud = np.interp(grid, np.arange(len(envelope)) / 50.0, envelope)
    quiet = quiet_parts(loud)
    return Call(
        seconds=seconds,
        fps=(len(intervals)) / (got.video_times[-1] - got.video_times[0]),
        interval_p95_ms=1000 * float(np.percentile(intervals, 95)),
        interval_max_ms=1000 * float(intervals.max()),
        freezes=int((intervals > 0.15).sum()),
        sound_gaps=int((np.diff(got.sound_pts) // 960 - 1).sum()),
        answer_ms=1000 * peer.answer_seconds,
        voice_p50_ms=1000 * float(np.percentile(voice, 50)),
        voice_p95_ms=1000 * float(np.percentile(voice, 95)),
        picture_p50_ms=1000 * shift,
        skew_p50_ms=1000 * (shift - float(np.median(voice))),
        skew_worst_ms=1000 * float(max(picture - np.median(voice), key=abs)),
        mouth_correlation=float(np.corrcoef(smooth(shown), smooth(loud))[0, 1]),
        silence_opening=float((shown[quiet].mean() - shown.min()) / (np.percentile(shown[~quiet], 95) - shown.min()))
        if quiet.any()
        else float("nan"),
        drops=drops,
    )


def envelope_of(sound: npt.NDArray[np.int16]) -> Float:
    """Root mean square of every 20 ms, on a scale of hearing (power 0.6)."""
    pieces = sound[: len(sound) // 960 * 960].reshape(-1, 960).astype(np.float64)
    return np.asarray(np.sqrt((pieces**2).mean(1)) ** 0.6)


def _speaking_seconds(envelope: Float) -> list[int]:
    """Starts, in seconds, of two-second windows with speech in them."""
    strong = np.percentile(envelope, 60)
    return [
        at for at in range(0, len(envelope) // 50 - 3) if (envelope[at * 50 : at * 50 + 100] > strong).mean() > 0.3
    ]


def _sound_lag(sent: npt.NDArray[np.int16], heard: npt.NDArray[np.int16], at: int) -> float:
    """Seconds from a two-second piece being spoken to its coming back."""
    piece = sent[at * RATE : (at + 2) * RATE].astype(np.float64)
    field = heard[at * RATE : (at + 3) * RATE].astype(np.float64)
    size = 1 << (len(piece) + len(field)).bit_length()
    match = np.fft.irfft(np.fft.rfft(field, size) * np.conj(np.fft.rfft(piece, size)), size)[:RATE]
    return float(match.argmax()) / RATE


def _lags(wanted: Float, shown_at: Callable[[Float], Float], grid: Float) -> Float:
    """Seconds by which the shown series comes after the wanted one, over windows of six seconds."""
    lags = []
    steps = np.arange(0.0, SEARCH_S, 1.0 / GRID)
    width = 6 * GRID
    for start in range(0, len(grid) - width + 1, width // 2):
        part, times = wanted[start : start + width], grid[start : start + width]
        if part.std() < 0.25 * wanted.std():
            continue
        scores = [np.corrcoef(part, shown_at(times + step))[0, 1] for step in steps]
        lags.append(steps[int(np.argmax(scores))])
    return np.array(lags)


def smooth(series: Float) -> Float:
    """Over 150 ms: a syllable."""
    width = int(0.15 * GRID)
    return np.convolve(series, np.ones(width) / width, "same")


def quiet_parts(loud: Float) -> npt.NDArray[np.bool_]:
    """Where nothing is said for 300 ms before and after."""
    width = int(0.6 * GRID)
    nearby = np.convolve(loud > 0.04 * loud.max(), np.ones(width), "same")
    return np.asarray(nearby < 0.5)
