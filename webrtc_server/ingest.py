"""Brings a caller's sound into the pipeline."""

from __future__ import annotations

from collections.abc import Callable

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from pipeline.audio import RATE, StereoConverter
from pipeline.avatar_pipeline import AvatarPipeline


async def ingest(track: MediaStreamTrack, pipeline: AvatarPipeline, monotonic: Callable[[], float]) -> None:
    """Reads a remote audio track until it ends. It is always drained: aiortc's queue behind it has no bound."""
    converter = StereoConverter()
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        if not isinstance(frame, av.AudioFrame) or frame.pts is None or frame.time_base is None:
            continue
        timestamp = int(frame.pts * frame.time_base.numerator * RATE // frame.time_base.denominator)
        pipeline.push_audio(converter.convert(frame), timestamp, monotonic())
