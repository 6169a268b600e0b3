"""The arithmetic of the live figures, from reports made up here."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUSH = """async (pushes) => {
  const { Figures } = await import("/static/figures.js");
  const figures = new Figures();
  return pushes.map(([stats, server, nowMs]) =>
    figures.push(new Map(stats.map((entry, i) => [entry.id ?? String(i), entry])), server, nowMs));
}"""
SERVER = {"playout": {"delay_ms": 200}}


def report(seconds: float, *, fps: float = 30, lost: int = 0, skew_ms: float = 0) -> list[dict[str, Any]]:
    """After that many seconds of 30 fps and 50 sound packets a second, 60 ms in the jitter buffer."""
    audio = {
        "type": "inbound-rtp",
        "kind": "audio",
        "bytesReceived": 4000 * seconds,
        "headerBytesReceived": 1000 * seconds,
        "packetsReceived": 50 * seconds,
        "packetsLost": lost,
        "jitterBufferDelay": 0.060 * 48000 * seconds,
        "jitterBufferEmittedCount": 48000 * seconds,
        "estimatedPlayoutTimestamp": 1e6 * seconds,
    }
    video = {
        "type": "inbound-rtp",
        "kind": "video",
        "bytesReceived": 110_000 * seconds,
        "headerBytesReceived": 10_000 * seconds,
        "packetsReceived": 100 * seconds,
        "packetsLost": 0,
        "framesDecoded": fps * seconds,
        "framesDropped": 0,
        "freezeCount": 0,
        "totalFreezesDuration": 0,
        "estimatedPlayoutTimestamp": 1e6 * seconds + skew_ms,
    }
    transport = {"type": "transport", "selectedCandidatePairId": "pair"}
    pair = {"id": "pair", "type": "candidate-pair", "currentRoundTripTime": 0.015}
    return [audio, video, transport, pair]


async def test_rates_and_latency(page: Page) -> None:
    first, second = await page.evaluate(PUSH, [[report(1), SERVER, 1000], [report(2), SERVER, 2000]])
    assert first["fps"] is None  # one report has no rate
    assert second["fps"] == 30
    assert second["bitrateKbps"] == 1000
    assert second["audioBufferMs"] == pytest.approx(60)
    assert second["roundTripMs"] == 15
    assert second["latencyMs"] == pytest.approx(20 + 15 + 200 + 60)


async def test_no_latency_without_all_its_parts(page: Page) -> None:
    pushes = [[report(1), None, 1000], [report(2), None, 2000]]
    assert (await page.evaluate(PUSH, pushes))[1]["latencyMs"] is None


async def test_nothing_before_there_is_media(page: Page) -> None:
    assert await page.evaluate(PUSH, [[[{"type": "transport"}], SERVER, 0]]) == [None]


async def test_skew_is_the_median_of_five(page: Page) -> None:
    skews = [10, 12, 900, 14, 16, 18]
    pushes = [[report(i, skew_ms=skew), SERVER, 1000 * i] for i, skew in enumerate(skews, start=1)]
    assert (await page.evaluate(PUSH, pushes))[-1]["skewMs"] == 16


async def test_loss_is_forgotten_after_ten_seconds(page: Page) -> None:
    pushes = [[report(i, lost=3 if i >= 2 else 0), SERVER, 1000 * i] for i in range(1, 15)]
    figures = await page.evaluate(PUSH, pushes)
    assert figures[1]["lossPercent"] == pytest.approx(100 * 3 / 153)
    assert figures[-1]["lossPercent"] == 0
    assert figures[-1]["packetsLost"] == 3


async def test_a_late_packet_is_no_negative_loss(page: Page) -> None:
    pushes = [[report(1, lost=3), SERVER, 1000], [report(2, lost=1), SERVER, 2000]]
    assert (await page.evaluate(PUSH, pushes))[1]["lossPercent"] == 0
