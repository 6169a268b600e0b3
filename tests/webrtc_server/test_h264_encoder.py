from __future__ import annotations

import itertools

import av
import pytest
from aiortc.codecs.h264 import H264PayloadDescriptor

from tests.webrtc_server.moving_picture import FPS, HEIGHT, TICK, WIDTH, luma_psnr, moving_picture
from webrtc_server.bitrate import BitrateRange
from webrtc_server.h264_encoder import H264Encoder

RANGE = BitrateRange(start=1_000_000, minimum=250_000, maximum=2_000_000)
IDR, SPS = 5, 7


def bitstream_of(payloads: list[bytes]) -> bytes:
    """RTP payloads back to Annex B."""
    return b"".join(H264PayloadDescriptor.parse(payload)[1] for payload in payloads)


def nal_types(payloads: list[bytes]) -> list[int]:
    return [part[0] & 0x1F for part in bitstream_of(payloads).split(b"\0\0\0\1")[1:]]


def is_key(payloads: list[bytes]) -> bool:
    return IDR in nal_types(payloads)


@pytest.fixture
def encoder() -> H264Encoder:
    return H264Encoder(RANGE, FPS)


def bits_per_second(sizes: list[int]) -> float:
    return sum(sizes) * 8 * FPS / len(sizes)


def decode(packets: list[list[bytes]]) -> tuple[list[av.VideoFrame], av.VideoCodecContext]:
    decoder = av.CodecContext.create("h264", "r")
    frames = [frame for payloads in packets for frame in decoder.decode(av.Packet(bitstream_of(payloads)))]
    return frames + decoder.decode(None), decoder


def test_what_was_encoded_can_be_decoded(encoder: H264Encoder) -> None:
    pictures = list(itertools.islice(moving_picture(), 20))
    decoded, _ = decode([encoder.encode(picture)[0] for picture in pictures])
    assert len(decoded) == 20
    for picture, result in zip(pictures, decoded, strict=True):
        assert (result.width, result.height) == (WIDTH, HEIGHT)
        assert luma_psnr(picture, result) > 28


def test_every_picture_comes_out_when_it_goes_in(encoder: H264Encoder) -> None:
    for n, frame in zip(range(30), moving_picture(), strict=False):
        payloads, timestamp = encoder.encode(frame)
        assert timestamp == n * TICK
        assert payloads
        assert max(map(len, payloads)) <= 1300


def test_timestamps_are_those_of_the_pictures(encoder: H264Encoder) -> None:
    pictures = moving_picture(first_tick=1_000_000)
    found = []
    for _ in range(4):
        found.append(encoder.encode(next(pictures))[1])
        next(pictures)
    assert found == [(1_000_000 + 2 * n) * TICK for n in range(4)]


def test_large_pictures_are_split_into_packets_that_fit(encoder: H264Encoder) -> None:
    payloads, _ = encoder.encode(next(moving_picture(width=640, height=480)))
    assert len(payloads) > 10
    assert max(map(len, payloads)) <= 1300


def test_only_the_first_picture_and_those_asked_for_are_key_frames(encoder: H264Encoder) -> None:
    keys = []
    for n, frame in zip(range(120), moving_picture(), strict=False):
        payloads, _ = encoder.encode(frame, force_keyframe=n in (40, 77))
        if is_key(payloads):
            keys.append(n)
            assert SPS in nal_types(payloads), "a receiver that joins here needs the parameters"
    assert keys == [0, 40, 77]


def test_a_reused_frame_does_not_stay_a_key_frame(encoder: H264Encoder) -> None:
    pictures = moving_picture()
    encoder.encode(next(pictures))
    frame = next(pictures)
    assert is_key(encoder.encode(frame, force_keyframe=True)[0])
    frame.pts = (frame.pts or 0) + TICK
    assert not is_key(encoder.encode(frame)[0])


def test_it_says_which_colours_it_means(encoder: H264Encoder) -> None:
    frames, decoder = decode([encoder.encode(next(moving_picture()))[0]])
    # ISO/IEC 23091-2: 6 is BT.601; FFmpeg: 1 is the limited range.
    assert (frames[0].colorspace, frames[0].color_range) == (6, 1)
    assert (decoder.color_primaries, decoder.color_trc) == (6, 6)


def test_it_is_constrained_baseline_3_1(encoder: H264Encoder) -> None:
    payloads, _ = encoder.encode(next(moving_picture()))
    sps = next(part for part in bitstream_of(payloads).split(b"\0\0\0\1") if part and part[0] & 0x1F == SPS)
    assert sps[1:4].hex() == "42c01f"


def test_the_bitrate_follows_estimates_in_place(encoder: H264Encoder) -> None:
    pictures = moving_picture()
    sizes: list[int] = []

    def run(seconds: float) -> float:
        """Bits a second over the last second."""
        for _ in range(int(seconds * FPS)):
            payloads, _ = encoder.encode(next(pictures))
            assert not is_key(payloads) or not sizes, "a new encoder"
            sizes.append(sum(map(len, payloads)))
        return bits_per_second(sizes[-FPS:])

    assert run(3) == pytest.approx(1_000_000, rel=0.15)
    encoder.target_bitrate = 400_000
    assert run(2.5) == pytest.approx(400_000, rel=0.15)
    encoder.target_bitrate = 1_800_000
    assert run(2.5) == pytest.approx(1_800_000, rel=0.15)


def test_estimates_are_kept_within_the_range(encoder: H264Encoder) -> None:
    assert encoder.target_bitrate == RANGE.start
    encoder.target_bitrate = 10
    assert encoder.target_bitrate == RANGE.minimum
    encoder.target_bitrate = 10**9
    assert encoder.target_bitrate == RANGE.maximum


def test_a_picture_of_another_size_starts_a_new_stream(encoder: H264Encoder) -> None:
    encoder.encode(next(moving_picture()))
    payloads, _ = encoder.encode(next(moving_picture(first_tick=1, width=96, height=64)))
    assert is_key(payloads)
    decoded, _ = decode([payloads])
    assert (decoded[0].width, decoded[0].height) == (96, 64)


def test_packets_that_are_encoded_already_are_only_packed(encoder: H264Encoder) -> None:
    packet = av.Packet(b"\0\0\0\1\x65" + bytes(range(1, 200)) * 10)
    packet.pts = 4711
    payloads, timestamp = encoder.pack(packet)
    assert timestamp == 4711
    assert bitstream_of(payloads) == bytes(packet)
