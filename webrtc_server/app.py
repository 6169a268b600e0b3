"""The composition root: makes every part, ties them together, and takes them apart in order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from aiohttp import web

from pipeline.avatar_store import AvatarStore
from pipeline.batcher import Batcher
from pipeline.config import Config
from signaling.routes import make_app
from webrtc_server.manager import SessionManager
from webrtc_server.metrics import Metrics

logger = logging.getLogger(__name__)

STATIC_DIR: Final = Path(__file__).resolve().parent.parent / "static"


class CannotServe(Exception):
    """The server cannot start; the message says why and what to do."""


class Server:
    """One process's server: HTTP, sessions, inference. `start` then `aclose`, on one event loop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._runner: web.AppRunner | None = None

    @property
    def manager(self) -> SessionManager:
        return self._manager

    async def start(self) -> str:
        """Starts listening and returns the URL. Raises CannotServe."""
        config, loop = self._config, asyncio.get_running_loop()
        cores = os.cpu_count() or 1
        # aiortc encodes in the loop's default executor: a thread per core, and one for what blocks briefly.
        loop.set_default_executor(ThreadPoolExecutor(cores + 1, thread_name_prefix="encode"))
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._batcher = Batcher(
            config.inference.threads or cores,
            clock=time.monotonic,
            deliver=_deliver_to(loop),
        )
        store = AvatarStore(config.models_root, config.inference.device, config.avatar_cache_mb << 20, self._loader)
        self._manager = SessionManager(config, store, self._batcher, self._loader, time.monotonic)
        metrics = Metrics(self._manager, self._batcher)
        self._runner = web.AppRunner(
            make_app(self._manager, STATIC_DIR, metrics.render), access_log=None, shutdown_timeout=2.0
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, config.server.host, config.server.port)
        try:
            await site.start()
        except OSError as error:
            await self.aclose()
            raise CannotServe(
                f"cannot listen on {config.server.host}:{config.server.port}: {error.strerror}; "
                "another server may be running there: choose another with --port"
            ) from error
        self._manager.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def aclose(self) -> None:
        """Refuses new callers, closes the sessions, then the threads."""
        if self._runner is None:
            return
        await self._manager.aclose()
        await self._runner.cleanup()
        self._runner = None
        await asyncio.to_thread(self._batcher.close)
        self._loader.shutdown(wait=False, cancel_futures=True)


def _deliver_to(loop: asyncio.AbstractEventLoop) -> Callable[[Callable[[], None]], None]:
    def deliver(callback: Callable[[], None]) -> None:
        try:
            loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop has ended before the batch in hand: nobody is left to be told.
            logger.debug("a patch came after the end")

    return deliver


async def serve(config: Config) -> None:
    """Serves until SIGINT or SIGTERM. Raises CannotServe."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = Server(config)
    url = await server.start()
    print(f"avatar-server: listening on {url}", file=sys.stderr, flush=True)
    try:
        await stop.wait()
    finally:
        print("avatar-server: shutting down", file=sys.stderr, flush=True)
        await server.aclose()
