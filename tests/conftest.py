from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import Config
from tests.peer import RATE, Int16
from tests.tiny_avatar import make_avatar
from webrtc_server.app import Server

ROOT = Path(__file__).resolve().parent.parent
LISTENING = re.compile(r"listening on (http://\S+)")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models_root with one small avatar named `default`."""
    root = tmp_path_factory.mktemp("models")
    make_avatar(root / "default")
    return root


@pytest.fixture
def bursts() -> Int16:
    """Four seconds, (n, 2) int16 at 48 kHz: half a second of noise in every second."""
    noise = np.random.default_rng(1).integers(-12_000, 12_000, (RATE * 4, 1)).astype(np.int16)
    noise[(np.arange(len(noise)) // (RATE // 2)) % 2 == 0] = 0
    return np.repeat(noise, 2, axis=1)


@pytest.fixture
async def serve(tiny_models: Path) -> AsyncIterator[Callable[..., Awaitable[tuple[Server, str]]]]:
    """Starts servers inside the test's own event loop: `await serve(sessions={"max_sessions": 2})`."""
    running: list[Server] = []

    async def start(**sections: dict[str, Any]) -> tuple[Server, str]:
        settings: dict[str, Any] = {"models_root": str(tiny_models), "server": {"port": 0}, **sections}
        server = Server(Config.model_validate(settings))
        url = await server.start()
        running.append(server)
        return server, url

    yield start
    for server in running:
        await server.aclose()


class LiveServer:
    """The real server in a process of its own, with the default avatar."""

    def __init__(self, url: str, process: asyncio.subprocess.Process) -> None:
        self.url = url
        self.process = process


@pytest.fixture
async def live_server() -> AsyncIterator[LiveServer]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "webrtc_server", "serve", "--port", "0"),
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    log: list[str] = []
    url = ""
    while not url:
        line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
        assert line, "the server ended:\n" + "".join(log)
        log.append(line)
        found = LISTENING.search(line)
        url = found[1] if found else ""
    drain = asyncio.create_task(_drain(process.stderr, log))
    try:
        yield LiveServer(url, process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 20)
        await drain
        assert process.returncode == 0, "".join(log)


async def _drain(stream: asyncio.StreamReader, log: list[str]) -> None:
    while line := await stream.readline():
        log.append(line.decode())
