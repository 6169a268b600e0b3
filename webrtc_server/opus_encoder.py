"""Opus for the sound that goes back."""

from __future__ import annotations

import fractions
from typing import cast

import av
from aiortc.codecs.base import Encoder
from av.audio.codeccontext import AudioCodecContext
from av.frame import Frame
from av.packet import Packet
from av.stream import Stream

from pipeline.audio import RATE


class OpusEncoder(Encoder):
    """Full-band Opus with in-band FEC, one 20 ms packet per frame.

    Timestamps are the frames' own: aiortc's encoder counts samples instead, so that every skipped tick would set
    sound and picture 20 ms further apart. Stands in for it on one sender.
    """

    def __init__(self, bitrate_bps: int = 64_000) -> None:
        codec = av.CodecContext.create("libopus", "w")
        codec.bit_rate = bitrate_bps
        codec.format = "s16"
        codec.layout = "stereo"
        codec.sample_rate = RATE
        codec.time_base = fractions.Fraction(1, RATE)
        codec.options = {"application": "voip", "fec": "1", "packet_loss": "5"}
        self._codec: AudioCodecContext = codec

    def encode(self, frame: Frame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """frame: 960 samples, s16 stereo, pts in 1/48000. Returns one payload and the RTP timestamp."""
        payloads = [bytes(packet) for packet in self._codec.encode(cast(av.AudioFrame, frame))]
        return payloads, cast(int, frame.pts)

    def pack(self, packet: Packet[Stream]) -> tuple[list[bytes], int]:
        return [bytes(packet)], cast(int, packet.pts)
