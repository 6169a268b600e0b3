"""`python -m bench`: measures this machine with the default avatar and prints tables for docs/performance.md."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import math
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from bench.browser import watch
from bench.call import Call, Openness, figures_of, place_call, reference
from bench.stages import Stage, measure
from pipeline.avatar import load_avatar
from tests.peer import RATE, read_sound

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "tests" / "data" / "speech-heldout.wav"
FPS = 30


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[tuple[str, int]]:
    """A server process of its own: its URL and its pid."""
    command = (sys.executable, "-m", "webrtc_server", "serve", "--port", "0")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    url, line = "", ""
    while not url or not line.endswith(" ready\n"):
        line = (await process.stderr.readline()).decode()
        if not line:
            raise SystemExit("the server did not start")
        found = re.search(r"listening on (\S+)", line)
        url = found[1] if found else url
    drain = asyncio.create_task(process.stderr.read())
    try:
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()
        await drain


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def calls(seconds: float, together: int) -> tuple[list[Call], float]:
    """Calls placed at once, and the cores the server took for each."""
    avatar = load_avatar(ROOT / "models" / "default", "cpu")
    clip = read_sound(CLIP)
    clip = np.concatenate([clip, np.zeros((RATE, 2), np.int16)])
    speech = np.tile(clip, (max(1, math.ceil(seconds * RATE / len(clip))), 1))
    look = Openness(avatar.boxes)
    expected = reference(avatar, speech, FPS, look)
    async with server() as (url, pid):
        before = cpu_seconds(pid)
        finished = await asyncio.gather(*(place_call(url, speech, look) for _ in range(together)))
        used = cpu_seconds(pid) - before
    results = [figures_of(peer, drops, speech, expected, FPS) for peer, drops in finished]
    return results, used / (len(speech) / RATE + 1) / together


def stage_table(stages: list[Stage]) -> str:
    rows = ["| stage | CPU ms | cores per session | floor |", "|---|---|---|---|"]
    rows += [f"| {s.name} | {s.cpu_ms:.2f} | {s.core:.3f} | {s.floor} |" for s in stages]
    return "\n".join(rows)


def call_table(results: list[Call], cores: float) -> str:
    rows = ["| figure |" + "".join(f" call {i + 1} |" for i in range(len(results))), "|---|" + "---|" * len(results)]
    for field in dataclasses.fields(Call):
        values = [getattr(result, field.name) for result in results]
        shown = (
            f"{v:.2f}" if isinstance(v, float) else json.dumps(v) if isinstance(v, dict) else str(v) for v in values
        )
        rows.append(f"| {field.name} |" + "".join(f" {v} |" for v in shown))
    rows.append(f"| server's cores per call |{f' {cores:.3f} |' * len(results)}")
    return "\n".join(rows)


async def browser(seconds: float) -> dict[str, float]:
    async with server() as (url, _):
        return await watch(url, CLIP, seconds)


def figure_table(figures: dict[str, float]) -> str:
    return "\n".join(["| figure | |", "|---|---|", *(f"| {name} | {value:.4g} |" for name, value in figures.items())])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the calls")
    parser.add_argument("--calls", type=int, nargs="*", default=[1, 2], help="how many at once; one run each")
    parser.add_argument("--no-browser", action="store_true", help="without the page in Chromium")
    parser.add_argument("--no-stages", action="store_true", help="calls only")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}\n")
    if not options.no_stages:
        avatar = load_avatar(ROOT / "models" / "default", "cpu")
        print(stage_table(measure(avatar, read_sound(CLIP), FPS)), "\n")
    for together in options.calls:
        print(f"{together} at once, {options.seconds:g} s\n")
        print(call_table(*asyncio.run(calls(options.seconds, together))), "\n", flush=True)
    if not options.no_browser:
        print("The demo page in Chromium\n")
        print(figure_table(asyncio.run(browser(options.seconds))), flush=True)


if __name__ == "__main__":
    main()
