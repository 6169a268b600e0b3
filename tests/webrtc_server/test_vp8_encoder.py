from __future__ import annotations

import itertools
from collections.abc import Iterator

import av
import pytest
from aiortc.codecs.vpx import VpxPayloadDescriptor

from tests.webrtc_server.moving_picture import FPS, HEIGHT, TICK, WIDTH, luma_psnr, moving_picture
from webrtc_server.bitrate import BitrateRange
from webrtc_server.vp8_encoder import Vp8Encoder

RANGE = BitrateRange(start=800_000, minimum=250_000, maximum=2_000_000)
HOLD = int(Vp8Encoder.HOLD_S * FPS)


def frame_of(payloads: list[bytes]) -> bytes:
    return b"".join(VpxPayloadDescriptor.parse(payload)[1] for payload in payloads)


def is_key(payloads: list[bytes]) -> bool:
    # RFC 6386, 9.1: the first bit of a frame is 0 for a key frame.
    return frame_of(payloads)[0] & 1 == 0


def picture_ids(payloads: list[bytes]) -> set[int | None]:
    return {VpxPayloadDescriptor.parse(payload)[0].picture_id for payload in payloads}


@pytest.fixture
def encoder() -> Vp8Encoder:
    return Vp8Encoder(RANGE, FPS)


@pytest.fixture
def pictures() -> Iterator[av.VideoFrame]:
    return moving_picture()


def run(encoder: Vp8Encoder, pictures: Iterator[av.VideoFrame], count: int) -> tuple[list[int], list[int]]:
    """Encodes some pictures; returns which of them became key frames, and their sizes."""
    keys, sizes = [], []
    for n in range(count):
        payloads, _ = encoder.encode(next(pictures))
        sizes.append(sum(map(len, payloads)))
        if is_key(payloads):
            keys.append(n)
    return keys, sizes


def test_what_was_encoded_can_be_decoded(encoder: Vp8Encoder, pictures: Iterator[av.VideoFrame]) -> None:
    decoder = av.CodecContext.create("vp8", "r")
    for n in range(30):
        frame = next(pictures)
        payloads, timestamp = encoder.encode(frame)
        decoded = decoder.decode(av.Packet(frame_of(payloads)))
        assert timestamp == n * TICK
        assert [(picture.width, picture.height) for picture in decoded] == [(WIDTH, HEIGHT)]
        assert luma_psnr(frame, decoded[0]) > 28


def test_packets_fit_and_carry_one_picture_id_each(encoder: Vp8Encoder, pictures: Iterator[av.VideoFrame]) -> None:
    ids = []
    for _ in range(10):
        payloads, _ = encoder.encode(next(pictures))
        assert max(map(len, payloads)) <= 1300
        (picture_id,) = picture_ids(payloads)
        ids.append(picture_id)
    assert ids == list(range(10))


def test_large_pictures_are_split_into_packets_that_fit(encoder: Vp8Encoder) -> None:
    payloads, _ = encoder.encode(next(moving_picture(width=640, height=480)))
    assert len(payloads) > 10
    assert max(map(len, payloads)) <= 1300


def test_picture_ids_go_round_after_15_bits(encoder: Vp8Encoder) -> None:
    packet = av.Packet(b"\x01" * 20)
    packet.pts = 0
    ids = [picture_ids(encoder.pack(packet)[0]) for _ in range((1 << 15) + 2)]
    assert ids[-3:] == [{(1 << 15) - 1}, {0}, {1}]


def test_timestamps_keep_skipped_ticks(encoder: Vp8Encoder) -> None:
    pictures = moving_picture(first_tick=1_000_000)
    found = []
    for _ in range(4):
        found.append(encoder.encode(next(pictures))[1])
        next(pictures)
    assert found == [(1_000_000 + 2 * n) * TICK for n in range(4)]


def test_only_the_first_picture_and_those_asked_for_are_key_frames(
    encoder: Vp8Encoder, pictures: Iterator[av.VideoFrame]
) -> None:
    keys = [n for n in range(90) if is_key(encoder.encode(next(pictures), force_keyframe=n in (40, 77))[0])]
    assert keys == [0, 40, 77]


def test_a_large_change_of_the_estimate_waits_for_its_time(
    encoder: Vp8Encoder, pictures: Iterator[av.VideoFrame]
) -> None:
    run(encoder, pictures, 10)
    encoder.target_bitrate = 300_000
    keys, sizes = run(encoder, pictures, HOLD - 10 + 3 * FPS)
    assert keys == [HOLD - 10]
    assert sum(sizes[-2 * FPS :]) * 8 / 2 == pytest.approx(300_000, rel=0.25)


def test_changes_come_no_closer_than_their_time(encoder: Vp8Encoder, pictures: Iterator[av.VideoFrame]) -> None:
    keys = []
    for n in range(3 * HOLD + 1):
        encoder.target_bitrate = (400_000, 1_500_000)[n // 5 % 2]
        if is_key(encoder.encode(next(pictures))[0]):
            keys.append(n)
    assert len(keys) <= 4
    assert all(b - a >= HOLD for a, b in itertools.pairwise(keys))


def test_a_small_change_is_not_worth_a_key_frame(encoder: Vp8Encoder, pictures: Iterator[av.VideoFrame]) -> None:
    run(encoder, pictures, 1)
    encoder.target_bitrate = int(RANGE.start * 1.2)
    keys, _ = run(encoder, pictures, HOLD + 10)
    assert keys == []


def test_estimates_are_kept_within_the_range(encoder: Vp8Encoder) -> None:
    assert encoder.target_bitrate == RANGE.start
    encoder.target_bitrate = 10
    assert encoder.target_bitrate == RANGE.minimum
    encoder.target_bitrate = 10**9
    assert encoder.target_bitrate == RANGE.maximum


def test_a_picture_of_another_size_starts_a_new_stream(encoder: Vp8Encoder) -> None:
    encoder.encode(next(moving_picture()))
    payloads, _ = encoder.encode(next(moving_picture(first_tick=1, width=96, height=64)))
    assert is_key(payloads)
