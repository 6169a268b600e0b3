"""The demo page in a real Chromium, against the real server with the default avatar."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from bench.browser import switches
from tests.conftest import ROOT, LiveServer

CHROMIUM = Path("/usr/bin/chromium")
SPEECH = ROOT / "tests" / "data" / "speech-heldout.wav"

# Watches the mouth's part of 90 painted pictures: the mean of its red. (The page's CSP forbids wait_for_function.)
WATCH = """
() => new Promise((resolve) => {
  const video = document.querySelector('video');
  const canvas = new OffscreenCanvas(64, 64);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const mouth = [];
  const look = () => {
    const { videoWidth: w, videoHeight: h } = video;
    context.drawImage(video, 0.42 * w, 0.54 * h, 0.16 * w, 0.1 * h, 0, 0, 64, 64);
    const pixels = context.getImageData(0, 0, 64, 64).data;
    let sum = 0;
    for (let i = 0; i < pixels.length; i += 4) sum += pixels[i];
    if (mouth.push(sum / 4096) === 90) resolve(mouth);
    else video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
})
"""


async def _stats(page: Page) -> dict[str, Any]:
    stats: dict[str, Any] = await page.evaluate("window.avatarPage.stats()")
    return stats


@pytest.mark.parametrize("voice", ["microphone", "sample"])
async def test_the_face_speaks_in_a_real_browser(live_server: LiveServer, voice: str) -> None:
    assert CHROMIUM.exists(), f"{CHROMIUM} is missing (apt-get install chromium)"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=switches(SPEECH))
        page = await browser.new_page(viewport={"width": 1280, "height": 860})
        complaints: list[str] = []
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(live_server.url)
        await page.check(f"input[name=voice][value={voice}]", force=True)
        await page.click("#main")
        await page.wait_for_selector("body[data-state=live]", timeout=20_000)
        mouth: list[float] = await asyncio.wait_for(page.evaluate(WATCH), 60)
        stats = await _stats(page)
        session = await page.request.get(f"{live_server.url}/sessions/{stats['sessionId']}")
        figures = await session.json()
        await page.click("#main")
        await page.wait_for_selector("body[data-state=idle]", timeout=10_000)
        gone = await page.request.get(f"{live_server.url}/sessions/{stats['sessionId']}")
        await browser.close()

    assert figures["state"] == "connected"
    assert figures["video"]["codec"] == "H264"
    assert figures["inference"]["windows"] > 30
    # The page reads its figures once a second.
    assert stats["framesDecoded"] >= 45
    assert stats["packetsLost"] == 0
    # The head's slow sway alone moves this by about two grey levels.
    assert max(mouth) - min(mouth) > 10
    assert gone.status == 404
    assert complaints == []
