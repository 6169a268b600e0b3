"""What a person sees: the demo page in headless Chromium with a fake microphone, by the browser's own figures."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright

CHROMIUM = "/usr/bin/chromium"
WARM_UP_S = 10.0
"""Browsers need a few sender reports before they align sound and picture."""


def switches(microphone: Path) -> list[str]:
    """Chromium's arguments for a page that speaks a recording, round and round."""
    return [
        "--headless=new",
        "--no-sandbox",
        # Also on a machine without any other interface.
        "--allow-loopback-in-peer-connection",
        "--disable-gpu",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
    ]


async def watch(url: str, microphone: Path, seconds: float) -> dict[str, float]:
    """Calls from the page and returns its figures over `seconds`, after a warm-up."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=switches(microphone))
        page = await browser.new_page(viewport={"width": 1280, "height": 860})
        await page.goto(url)
        await page.click("#main")
        await page.wait_for_selector("body[data-state=live]", timeout=20_000)
        await asyncio.sleep(WARM_UP_S)
        readings: list[dict[str, Any]] = []
        for _ in range(int(seconds)):
            readings.append(await page.evaluate("window.avatarPage.stats()"))
            await asyncio.sleep(1.0)
        await browser.close()
    first, last = readings[0], readings[-1]
    skews = [abs(r["skewMs"]) for r in readings if r["skewMs"] is not None]
    return {
        "seconds": seconds,
        "fps decoded": (last["framesDecoded"] - first["framesDecoded"]) / (len(readings) - 1),
        "fps, worst second": min(r["fps"] for r in readings),
        "freezes": last["freezes"] - first["freezes"],
        "frames dropped": last["framesDropped"] - first["framesDropped"],
        "skew, median (ms)": sorted(skews)[len(skews) // 2],
        "skew, worst (ms)": max(skews),
        "voice in to voice out, estimated (ms)": last["latencyMs"],
        "bitrate (kbit/s)": last["bitrateKbps"],
        "packets lost": last["packetsLost"],
    }
