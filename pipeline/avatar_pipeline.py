"""One session's wiring: the caller's sound in, sound and composed pictures out, on one timeline."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from pipeline import audio, features
from pipeline.audio import Int16, NetResampler
from pipeline.avatar import Avatar, UInt8
from pipeline.batcher import PatchRequest
from pipeline.compositor import compose
from pipeline.features import FeatureExtractor
from pipeline.playout import PictureBuffer, PlayoutAnchor, PlayoutClock, SoundBuffer
from pipeline.speech_gate import SpeechGate

AUDIO_TICK: Final = audio.RATE // 50
"""Samples in one outgoing audio packet: 20 ms."""
SILENT_PEAK: Final = 33
"""Sound whose peak stays under this (-60 dBFS) may be stretched or cut unheard."""
MAX_REPEATS: Final = 3
"""Pictures shown again where patches are missing, before the idle face returns until there is one."""
LINGER_S: Final = 1.0
"""How long missing sound still counts as silence for the net; after that it starts anew."""
COMPOSE_S: Final = 0.005
"""Left between a patch's deadline and its frame's departure."""
STALL_S: Final = 0.060
"""Ticks further apart than this tell that the event loop stood still."""
INFERENCE_S: Final = 0.030
"""Left between a complete window and its patch's deadline."""


@dataclass(frozen=True)
class Mouth:
    patch: UInt8
    weight: float


@dataclass(frozen=True)
class PipelineStats:
    speaking: bool
    delay_ms: float
    buffered_ms: float
    windows: int
    gap_ms: float
    """Silence given where the caller's sound had not arrived while he was sending."""
    latency_s: tuple[float, ...]
    """Submission to patch of this session's latest windows."""
    drops: dict[str, int]
    moves: dict[str, int]


class AvatarPipeline:
    """Left of the buffers everything follows the sound and may be dropped; right of them everything follows the
    clock and never waits. Runs on one thread; `submit` hands windows to the shared batcher."""

    def __init__(
        self,
        avatar: Avatar,
        clock: PlayoutClock,
        submit: Callable[[PatchRequest], None],
        monotonic: Callable[[], float],
        *,
        fps: int,
        delay_ms: int,
        max_buffer_ms: int,
    ) -> None:
        """monotonic: the clock of `now`, read when a patch comes back."""
        self._avatar = avatar
        self._clock = clock
        self._submit = submit
        self._monotonic = monotonic
        self._fps = fps
        self._anchor = PlayoutAnchor(delay_ms * audio.RATE // 1000)
        self._sound = SoundBuffer(max_buffer_ms * audio.RATE // 1000)
        self._pictures: PictureBuffer[Mouth] = PictureBuffer(max_buffer_ms * fps // 1000)
        self._gate = SpeechGate()
        self._extractor = FeatureExtractor(fps)
        self._resampler = NetResampler()
        self._heard = 0
        """One past the last sample given to the net, in 48 kHz samples of the timeline."""
        self._hearing = False
        self._last_packet = self._filled = self._patient_until = float("-inf")
        self._expected: deque[int] = deque(maxlen=max_buffer_ms * fps // 1000)
        """Frames not shown yet that a patch was asked for: it may be here, on its way, or dropped."""
        self._last_picture: UInt8 | None = None
        self._repeats = 0
        self._windows = 0
        self._gap = 0
        self._latencies: deque[float] = deque(maxlen=256)
        self._drops: Counter[str] = Counter()

    # Left of the buffers: the sound's side.

    def push_audio(self, pcm: Int16, timestamp: int, now: float) -> None:
        """Takes a packet's sound: (n, 2) int16 at 48 kHz, with the caller's timestamp in 48 kHz samples."""
        arrival = self._clock.sample_at(now)
        silent = bool(np.abs(pcm, dtype=np.int32).max(initial=0) < SILENT_PEAK)
        position = self._anchor.place(timestamp, len(pcm), arrival, silent)
        gap = self._sound.write(position, pcm, arrival)
        if self._hearing:
            self._gap += gap
        self._last_packet = now
        self._hear(position, pcm, now)

    def _hear(self, position: int, pcm: Int16, now: float) -> None:
        """Gives the net a gapless run: missing sound becomes silence, sound it already went past is left out."""
        if not self._hearing or position - self._heard > LINGER_S * audio.RATE:
            self._start_hearing(position)
        if position > self._heard:
            self._feed(np.zeros((position - self._heard, audio.CHANNELS), np.int16), now)
        late = min(len(pcm), self._heard - position)
        if late:
            self._drops["unheard_sound"] += late
        if late < len(pcm):
            self._feed(pcm[late:], now)

    def _start_hearing(self, position: int) -> None:
        window = max(0, position * self._fps // audio.RATE)
        self._extractor.reset(window)
        self._resampler = NetResampler()
        self._gate = SpeechGate()
        self._heard = self._extractor.position * (audio.RATE // audio.NET_RATE)
        self._hearing = True

    def _feed(self, pcm: Int16, now: float) -> None:
        self._heard += len(pcm)
        self._extractor.push(self._resampler.convert(pcm))
        while (ready := self._extractor.next_window()) is not None:
            frame, window = ready
            weight = self._gate.weight(window)
            if weight > 0.0:
                self._request(frame, window, weight, now)

    def _request(self, frame: int, window: features.Float32, weight: float, now: float) -> None:
        self._windows += 1
        self._expected.append(frame)
        index = self._avatar.background_index(frame / self._fps)
        self._submit(
            PatchRequest(
                model=self._avatar.model,
                input=self._avatar.input_for(index, window),
                deadline=self._clock.time_of(frame * audio.RATE // self._fps) - COMPOSE_S,
                submitted=now,
                done=partial(self._on_patch, frame, weight, now),
                dropped=self._on_drop,
            )
        )

    def _on_patch(self, frame: int, weight: float, submitted: float, patch: UInt8) -> None:
        self._latencies.append(self._monotonic() - submitted)
        self._pictures.put(frame, Mouth(patch, weight))

    def _on_drop(self, name: str) -> None:
        self._drops[name] += 1

    # Right of the buffers: the clock's side.

    def audio_at(self, tick: int) -> Int16:
        """The sound of one 20 ms tick: (960, 2) int16 at 48 kHz."""
        # Video ticks alone may lie too far apart for the next frame's window to be complete in time.
        self._fill_silence(self._clock.time_of(tick * AUDIO_TICK))
        pcm, missing = self._sound.read(tick * AUDIO_TICK, AUDIO_TICK)
        if self._hearing:
            self._gap += missing
        return pcm

    def frame_at(self, tick: int, now: float) -> UInt8:
        """The picture of one video tick: (height * 3 / 2, width) uint8 I420, owned by the caller."""
        self._fill_silence(now)
        mouth = self._pictures.take(tick)
        missing = mouth is None and tick in self._expected
        while self._expected and self._expected[0] <= tick:
            self._expected.popleft()
        if missing and self._last_picture is not None and self._repeats < MAX_REPEATS:
            self._repeats += 1
            self._drops["picture_repeated"] += 1
            return self._last_picture.copy()
        if not missing:
            self._repeats = 0
        index = self._avatar.background_index(tick / self._fps)
        picture = (
            compose(self._avatar, index, None)
            if mouth is None
            else compose(self._avatar, index, mouth.patch, mouth.weight)
        )
        self._last_picture = picture
        return picture

    def _fill_silence(self, now: float) -> None:
        """Sound that is not here in time for the net is silence to it: the mouth must close, not freeze."""
        since, self._filled = now - self._filled, max(now, self._filled)
        if not self._hearing:
            return
        if since > max(STALL_S, 1.5 / self._fps):
            # The whole process was late, not the sound: what came meanwhile is about to be pushed.
            self._patient_until = now + AUDIO_TICK / audio.RATE
        if now < self._patient_until:
            return
        ahead = features.LOOKAHEAD_S + INFERENCE_S + COMPOSE_S
        horizon = self._clock.sample_at(now + ahead)
        missing = horizon - self._heard
        if missing > LINGER_S * audio.RATE:
            # Nobody has looked for so long that there is no open mouth left to close.
            self._hearing = False
            self._gate = SpeechGate()
            return
        if missing > 0:
            self._feed(np.zeros((missing, audio.CHANNELS), np.int16), now)
        if now - self._last_packet > LINGER_S and not self._gate.is_open:
            self._hearing = False

    @property
    def speaking(self) -> bool:
        return self._gate.is_open

    def stats(self, now: float) -> PipelineStats:
        buffered = max(0, self._sound.end - self._clock.sample_at(now))
        drops = self._drops + self._sound.drops + self._pictures.drops
        return PipelineStats(
            speaking=self.speaking,
            delay_ms=self._anchor.delay * 1000 / audio.RATE,
            buffered_ms=buffered * 1000 / audio.RATE,
            windows=self._windows,
            gap_ms=self._gap * 1000 / audio.RATE,
            latency_s=tuple(self._latencies),
            drops=dict(drops),
            moves=dict(self._anchor.moves),
        )
