from __future__ import annotations

import fractions

import av
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.audio import RATE, frame_of
from webrtc_server.opus_encoder import OpusEncoder

PTIME = 960


@pytest.fixture
def encoder() -> OpusEncoder:
    return OpusEncoder()


def tone(ticks: int) -> npt.NDArray[np.int16]:
    t = np.arange(ticks * PTIME) / RATE
    left, right = 9000 * np.sin(2 * np.pi * 440 * t), 5000 * np.sin(2 * np.pi * 1000 * t)
    return np.stack([left, right], axis=1).astype(np.int16)


def encode(encoder: OpusEncoder, pcm: npt.NDArray[np.int16], tick: int) -> tuple[list[bytes], int]:
    frame = frame_of(pcm[tick * PTIME : (tick + 1) * PTIME])
    frame.pts, frame.time_base = tick * PTIME, fractions.Fraction(1, RATE)
    return encoder.encode(frame)


def decode(packets: list[bytes]) -> npt.NDArray[np.int16]:
    decoder = av.CodecContext.create("libopus", "r")
    decoder.format, decoder.layout, decoder.sample_rate = "s16", "stereo", RATE
    frames = [frame for packet in packets for frame in decoder.decode(av.Packet(packet))]
    return np.concatenate([frame.to_ndarray().reshape(-1, 2) for frame in frames])


def test_every_frame_gives_one_packet_of_20_ms_with_its_own_timestamp(encoder: OpusEncoder) -> None:
    pcm = tone(100)
    for tick in range(100):
        payloads, timestamp = encode(encoder, pcm, tick)
        assert len(payloads) == 1
        assert timestamp == tick * PTIME
        assert len(payloads[0]) < 1300
    assert len(decode([payloads[0]])) == PTIME


def test_skipped_ticks_stay_skipped_in_the_timestamps(encoder: OpusEncoder) -> None:
    pcm, ticks = tone(200), [0, 1, 2, 7, 8, 150, 151]
    encoded = [encode(encoder, pcm, tick) for tick in ticks]
    assert [timestamp for _, timestamp in encoded] == [tick * PTIME for tick in ticks]
    assert [len(payloads) for payloads, _ in encoded] == [1] * len(ticks)


def test_a_session_may_begin_at_any_tick(encoder: OpusEncoder) -> None:
    frame = frame_of(tone(1))
    frame.pts, frame.time_base = 123_456 * PTIME, fractions.Fraction(1, RATE)
    payloads, timestamp = encoder.encode(frame)
    assert (len(payloads), timestamp) == (1, 123_456 * PTIME)


def test_it_sounds_like_what_went_in_in_stereo(encoder: OpusEncoder) -> None:
    pcm = tone(100)
    decoded = decode([encode(encoder, pcm, tick)[0][0] for tick in range(100)])
    assert decoded.shape == pcm.shape
    # The codec delays by its look-ahead of 6.5 ms; a second in, all has settled.
    spectrum = np.abs(np.fft.rfft(decoded[RATE:].astype(float), axis=0)) / (RATE / 2)
    assert spectrum[440, 0] == pytest.approx(9000, rel=0.1)
    assert spectrum[1000, 1] == pytest.approx(5000, rel=0.1)
    assert spectrum[1000, 0] < 500
    assert spectrum[440, 1] < 500


def test_packets_that_are_encoded_already_are_only_packed(encoder: OpusEncoder) -> None:
    packet = av.Packet(b"\xfc\xff\xfe")
    packet.pts = 960
    assert encoder.pack(packet) == ([b"\xfc\xff\xfe"], 960)
