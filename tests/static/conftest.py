from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from tests.static.server import PEER, PageServer

CHROMIUM = Path("/usr/bin/chromium")
SWITCHES = [
    "--headless=new",
    "--no-sandbox",
    # Also on a machine without any other interface.
    "--allow-loopback-in-peer-connection",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    # The peer page has no microphone permission; with mDNS names it could not be reached in a container.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    # A page that is not on localhost, without a certificate: an insecure context.
    "--host-resolver-rules=MAP insecure.test 127.0.0.1",
    "--autoplay-policy=no-user-gesture-required",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]

PATIENCE_MS = 20_000  # on a machine that does other things as well
expect.set_options(timeout=PATIENCE_MS)

OpenPage = Callable[..., Awaitable["Visit"]]


class Visit:
    """One visit of the page, with what the browser had to say about it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)

    async def state(self, name: str) -> None:
        await self.page.wait_for_selector(f"body[data-state={name}]", timeout=PATIENCE_MS)

    async def notice(self, trouble: str) -> str:
        """Waits for that notice and returns its words."""
        await self.page.wait_for_selector(f"body[data-notice={trouble}] .notice:visible", timeout=PATIENCE_MS)
        return await self.page.inner_text(".notice")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: the page is tested in a real browser (apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peer(chromium: Browser) -> Page:
    """Where the calls end, in place of a server's WebRTC side."""
    page = await chromium.new_page()
    await page.add_script_tag(content=PEER)
    return page


@pytest_asyncio.fixture(loop_scope="module")
async def server(peer: Page) -> AsyncIterator[PageServer]:
    async with _serve(peer) as server:
        yield server
    await peer.evaluate("drop()")


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(chromium: Browser, server: PageServer) -> AsyncIterator[OpenPage]:
    """Opens the page, ready to start. `script` runs before the page's own; other arguments are the context's."""
    async with AsyncExitStack() as stack:

        async def open_page(
            *, url: str = server.url, microphone: bool = True, script: str = "", **options: Any
        ) -> Visit:
            context = await chromium.new_context(**options)
            stack.push_async_callback(context.close)
            if microphone:
                await context.grant_permissions(["microphone"])
            page = await context.new_page()
            if script:
                await page.add_init_script(script)
            visit = Visit(page)
            await page.goto(url)
            await page.wait_for_selector("#poster:visible")
            return visit

        yield open_page


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(chromium: Browser, peer: Page) -> AsyncIterator[Page]:
    """A page on which the modules of static/ can be imported; shared, as those tests leave no trace."""
    async with _serve(peer) as server:
        page = await chromium.new_page()
        await page.goto(server.url)
        yield page
        await page.close()


@asynccontextmanager
async def _serve(peer: Page) -> AsyncIterator[PageServer]:
    server = PageServer(peer)
    runner = web.AppRunner(server.app(), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
