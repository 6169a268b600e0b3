"""The command line as a person types it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import wave
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import av
import numpy as np
import pytest

from tests.conftest import LISTENING, ROOT
from webrtc_server.__main__ import main

Run = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """`main` sends the log to a stream that pytest closes after the test."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """1.5 seconds of noise, 16 kHz mono."""
    path = tmp_path / "speech.wav"
    samples = np.random.default_rng(0).integers(-9000, 9000, 24_000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture
def config(tmp_path: Path, tiny_models: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(f"models_root: {tiny_models}\n")
    return path


def test_render_makes_a_video_of_a_recording(
    speech: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.mp4"
    assert main(["render", str(speech), str(target), "--config", str(config)]) == 0
    assert "64x64 at 30 fps" in capsys.readouterr().out
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in container.decode(video=0)) == 60
    with av.open(str(target)) as container:
        assert container.streams.audio[0].rate == 48_000


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["render", "missing.wav", "out.mp4"], "missing.wav: cannot be read as sound"),
        (["render", "config.yaml", "out.mp4"], "config.yaml: cannot be read as sound"),
        (["render", "speech.wav", "nowhere/out.mp4"], "nowhere/out.mp4: cannot be written"),
        (["render", "speech.wav", "out.unknown"], "out.unknown: cannot be written"),
        (["render", "speech.wav", "out.mp4", "--avatar", "nobody"], "nobody"),
    ],
)
def test_render_says_what_is_wrong(
    speech: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert main(arguments) == 1
    assert complaint in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


def test_a_wrong_configuration_is_refused_by_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("video:\n  fsp: 25\n")
    assert main(["serve", "--config", str(path)]) == 2
    assert "video.fsp" in capsys.readouterr().err


async def test_serve_listens_answers_and_stops_on_sigterm(config: Path) -> None:
    process = await _serve(config, "--port", "0")
    assert process.stderr is not None
    found = None
    while found is None:
        line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
        assert line
        found = LISTENING.search(line)
    async with aiohttp.ClientSession() as http, http.get(f"{found[1]}/healthz") as response:
        assert response.status == 200
    process.send_signal(signal.SIGTERM)
    rest = await asyncio.wait_for(process.stderr.read(), 15)
    assert await process.wait() == 0
    assert b"Traceback" not in rest


async def test_a_port_in_use_is_named(config: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await _serve(config, "--port", str(port))
        assert process.stderr is not None
        complaint = (await asyncio.wait_for(process.stderr.read(), 30)).decode()
    assert await process.wait() == 1
    assert f"cannot listen on 127.0.0.1:{port}" in complaint
    assert "--port" in complaint
    assert "Traceback" not in complaint


async def _serve(config: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "webrtc_server", "serve", "--config", str(config), *arguments),
        cwd=ROOT,
        env=dict(os.environ),
        stderr=asyncio.subprocess.PIPE,
    )
