"""CPU time of each stage of one session, on one core, with the floor beside it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from pipeline import audio, features
from pipeline.avatar import Avatar
from pipeline.compositor import compose
from webrtc_server.bitrate import BitrateRange
from webrtc_server.h264_encoder import H264Encoder
from webrtc_server.opus_encoder import OpusEncoder
from webrtc_server.vp8_encoder import Vp8Encoder

ROUNDS = 9
BITRATE = BitrateRange(1_000_000, 250_000, 2_000_000)


@dataclass(frozen=True)
class Stage:
    name: str
    cpu_ms: float
    """Median over rounds of the mean CPU time of one call."""
    per_second: float
    """Calls in a second of a session."""
    floor: str

    @property
    def core(self) -> float:
        """Cores this stage takes in one session."""
        return self.cpu_ms * self.per_second / 1000.0


def cpu_ms(call: Callable[[int], object], times: int) -> float:
    rounds = []
    index = 0
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(times):
            call(index)
            index += 1
        rounds.append(1000.0 * (time.process_time() - started) / times)
    return statistics.median(rounds)


def measure(avatar: Avatar, speech: np.ndarray, fps: int) -> list[Stage]:
    """speech: (n, 2) int16 at 48 kHz."""
    packets = [speech[i : i + 960] for i in range(0, len(speech) - 960, 960)]
    resampler, extractor = audio.NetResampler(), features.FeatureExtractor(fps)
    windows = []

    def hear(i: int) -> None:
        extractor.push(resampler.convert(packets[i % len(packets)]))
        while (ready := extractor.next_window()) is not None:
            windows.append(ready[1])

    hearing = cpu_ms(hear, 100)
    count = len(avatar.backgrounds)
    inputs = [avatar.input_for(i % count, windows[i]) for i in range(min(len(windows), 200))]
    patches = [avatar.model.infer([i])[0] for i in inputs]
    inference = cpu_ms(lambda i: avatar.model.infer([inputs[i % len(inputs)]]), 30)
    composing = cpu_ms(lambda i: compose(avatar, i % count, patches[i % len(patches)]), 100)
    copying = cpu_ms(lambda i: avatar.backgrounds[i % count].copy(), 100)
    pictures = [compose(avatar, i % count, patches[i]) for i in range(len(patches))]

    def encode_with(encoder: H264Encoder | Vp8Encoder) -> Callable[[int], object]:
        def encode(i: int) -> None:
            frame = av.VideoFrame.from_numpy_buffer(pictures[i % len(pictures)], "yuv420p")
            frame.pts, frame.time_base = i * 90_000 // fps, Fraction(1, 90_000)
            encoder.encode(frame)

        return encode

    h264 = cpu_ms(encode_with(H264Encoder(BITRATE, fps)), 60)
    vp8 = cpu_ms(encode_with(Vp8Encoder(BITRATE, fps)), 60)
    opus_encoder = OpusEncoder()

    def encode_sound(i: int) -> None:
        frame = audio.frame_of(packets[i % len(packets)])
        frame.pts, frame.time_base = i * 960, Fraction(1, audio.RATE)
        opus_encoder.encode(frame)

    opus = cpu_ms(encode_sound, 100)
    return [
        Stage("resample and log-mel (20 ms of sound)", hearing, 50, ""),
        Stage("lip-sync net (a picture)", inference, fps, ""),
        Stage("compose (a picture)", composing, fps, f"copying the frame: {copying:.3f} ms"),
        Stage("encode H264", h264, fps, ""),
        Stage("encode VP8 (instead)", vp8, fps, f"{vp8 / h264:.2f} x H264"),
        Stage("encode Opus", opus, 50, ""),
    ]
