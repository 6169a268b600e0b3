"""The demo page in a real Chromium: what it says, in every state a visitor can meet."""

from __future__ import annotations

import asyncio
import re
from typing import Literal

import pytest
from playwright.async_api import Page, expect

from tests.static.conftest import OpenPage, Visit
from tests.static.server import PageServer, problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_NUMBER = "\N{EN DASH}"
PHONE = {"width": 360, "height": 740}
REJECT = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{}'))"
FULL = (503, "server-full", "Server full", "all 4 sessions are taken")


async def test_first_sight(open_page: OpenPage, server: PageServer) -> None:
    visit = await open_page()
    await expect(visit.page.get_by_role("heading", level=1)).to_have_text("Speak, and Ada says it back.")
    await expect(visit.page.get_by_role("button", name="Start")).to_be_enabled()
    await expect(visit.page.get_by_role("radio", name="Ada")).to_be_checked()
    assert await visit.page.evaluate("avatarPage.stats()") is None
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(server.url + "/")] == []


async def test_everything_that_can_be_operated_has_a_name(open_page: OpenPage) -> None:
    visit = await open_page()
    await visit.page.click("#main")
    await visit.state("live")
    devtools = await visit.page.context.new_cdp_session(visit.page)
    nodes = (await devtools.send("Accessibility.getFullAXTree"))["nodes"]
    operable = {"button", "radio", "checkbox", "link", "DisclosureTriangle", "Video"}
    names = [
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if not node["ignored"] and node.get("role", {}).get("value") in operable
    ]
    assert len(names) >= 8
    assert [role for role, name in names if not name.strip()] == []
    assert ("button", "Mute my voice") in names
    assert ("Video", "Ada, live") in names


async def test_works_by_keyboard_alone(open_page: OpenPage, server: PageServer) -> None:
    visit = await open_page()
    keyboard = visit.page.keyboard
    await keyboard.press("Tab")
    await expect(visit.page.get_by_role("radio", name="Microphone")).to_be_focused()
    await keyboard.press("ArrowRight")
    await expect(visit.page.get_by_role("radio", name="Speech sample")).to_be_checked()
    ring = "getComputedStyle(document.activeElement.closest('label')).outlineStyle"
    assert await visit.page.evaluate(ring) == "solid"
    await keyboard.press("Tab")
    await expect(visit.page.get_by_role("button", name="Start")).to_be_focused()
    assert await visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    await keyboard.press("Enter")
    await visit.state("live")
    await expect(visit.page.get_by_role("button", name="End")).to_be_focused()
    await keyboard.press("Enter")
    await visit.state("idle")


async def test_never_scrolls_sideways(open_page: OpenPage, server: PageServer) -> None:
    server.refusals.append(problem(422, "unsupported-offer", "Unsupported offer", "no-" * 60))
    visit = await open_page(viewport=PHONE)
    await visit.page.click("#main")
    await visit.notice("refused")
    for width in (320, 360, 640, 700, 768, 1120, 1440):
        await visit.page.set_viewport_size({"width": width, "height": 740})
        await visit.page.evaluate("document.getElementById('figures').open = true")
        assert await visit.page.evaluate("document.documentElement.scrollWidth") == width


async def test_a_phone_shows_face_and_button_without_scrolling(open_page: OpenPage) -> None:
    visit = await open_page(viewport={"width": PHONE["height"], "height": PHONE["width"]})
    await _face_and_button_in_sight(visit)
    await visit.page.set_viewport_size(PHONE)
    await _face_and_button_in_sight(visit)
    await expect(visit.page.get_by_text("Frame rate")).to_be_hidden()
    await visit.page.click("summary")
    await expect(visit.page.get_by_text("Frame rate")).to_be_visible()


async def _face_and_button_in_sight(visit: Visit) -> None:
    await expect(visit.page.locator("#main")).to_be_in_viewport(ratio=1)
    await expect(visit.page.locator("#stage")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_stands_out(page: Page, scheme: Literal["light", "dark"]) -> None:
    await page.emulate_media(color_scheme=scheme)
    read = "([...names]) => names.map((n) => getComputedStyle(document.documentElement).getPropertyValue('--' + n))"
    names = ["ink", "quiet", "ground", "surface", "accent", "on-accent", "accent-hover", "stop", "stop-hover"]
    colour = dict(zip(names, await page.evaluate(read, names), strict=True))
    pairs = [
        ("ink", "ground"),
        ("quiet", "ground"),
        ("ink", "surface"),
        ("quiet", "surface"),
        ("on-accent", "accent"),
    ]
    for text, back in [*pairs, ("on-accent", "accent-hover")]:
        assert _contrast(colour[text], colour[back]) >= 4.5, (text, back)
    assert _contrast("#ffffff", colour["stop"]) >= 4.5


def _contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2.2 between two colours written #rrggbb."""

    def luminance(colour: str) -> float:
        r, g, b = (int(part, 16) / 255 for part in re.findall("..", colour.strip().removeprefix("#")))
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (r, g, b))
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


async def test_a_call_with_the_microphone(open_page: OpenPage, server: PageServer) -> None:
    visit = await open_page()
    await visit.page.click("#main")
    await visit.state("live")
    await visit.page.wait_for_selector("#stage.playing")
    assert server.offers[0].keys() == {"sdp", "type", "avatar"}
    assert server.offers[0]["avatar"] == "default"
    assert re.findall(r"^m=(\w+)", server.offers[0]["sdp"], re.M) == ["audio", "video", "application"]
    assert await server.peer.evaluate("channels()") == ["control"]
    await expect(visit.page.locator("[data-figure=latencyMs]")).to_have_text(re.compile(r"^\d+$"))
    figures = await visit.page.evaluate("avatarPage.stats()")
    assert figures["sessionId"] == "session-1"
    assert figures["playoutDelayMs"] == 200
    parts = ["packetMs", "roundTripMs", "playoutDelayMs", "audioBufferMs"]
    assert figures["latencyMs"] == pytest.approx(sum(figures[part] for part in parts))
    assert figures["lossPercent"] == 0
    await visit.page.click("#main")
    await visit.state("idle")
    await expect(visit.page.locator("[data-figure=fps]")).to_have_text(NO_NUMBER)
    await asyncio.wait_for(server.deleted.wait(), 20)
    assert server.ended == ["session-1"]
    assert visit.complaints == []


async def test_mute_and_speaker(open_page: OpenPage) -> None:
    visit = await open_page(
        script="const Peer = RTCPeerConnection; "
        "window.RTCPeerConnection = class extends Peer { constructor(...a) { super(...a); window.peer = this; } };"
    )
    sending = "peer.getSenders().find((sender) => sender.track).track.enabled"
    await visit.page.click("#main")
    await visit.state("live")
    mute = visit.page.get_by_role("button", name="Mute my voice")
    await mute.click()
    await expect(mute).to_have_attribute("aria-pressed", "true")
    assert await visit.page.evaluate(sending) is False
    await mute.click()
    assert await visit.page.evaluate(sending) is True
    await visit.page.get_by_role("button", name="Mute the speaker").click()
    assert await visit.page.evaluate("document.getElementById('video').muted") is True
    await visit.state("live")


async def test_the_sample_needs_no_microphone(open_page: OpenPage) -> None:
    visit = await open_page(microphone=False)
    await visit.page.get_by_role("radio", name="Speech sample").check(force=True)
    await visit.page.click("#main")
    await visit.state("live")
    status = visit.page.get_by_role("status")
    await expect(status).to_have_text("The sample has ended.")
    await visit.state("live")  # and stays: silence follows
    await visit.page.get_by_role("button", name="Say it again").click()
    await expect(status).to_have_text("Ada says it again.")
    await expect(status).to_have_text("The sample has ended.")
    assert visit.complaints == []


async def test_the_voice_can_be_changed_in_a_call(open_page: OpenPage, server: PageServer) -> None:
    visit = await open_page()
    await visit.page.click("#main")
    await visit.state("live")
    await expect(visit.page.get_by_role("button", name="Say it again")).to_be_hidden()
    await visit.page.get_by_role("radio", name="Speech sample").check(force=True)
    await expect(visit.page.get_by_role("button", name="Say it again")).to_be_visible()
    assert len(server.offers) == 1


async def test_another_avatar_is_another_session(open_page: OpenPage, server: PageServer) -> None:
    visit = await open_page()
    await visit.page.click("#main")
    await visit.state("live")
    async with visit.page.expect_response("**/offer"):
        await visit.page.get_by_role("radio", name="Bruno").check(force=True)
    await expect(visit.page.get_by_role("heading", level=1)).to_have_text("Speak, and Bruno says it back.")
    await visit.state("live")
    await asyncio.wait_for(server.deleted.wait(), 20)
    assert server.offers[1]["avatar"] == "bruno"
    assert server.ended == ["session-1"]


async def test_microphone_refused(open_page: OpenPage, server: PageServer) -> None:
    visit = await open_page(microphone=False)
    await visit.page.click("#main")
    assert "The microphone was refused" in await visit.notice("microphone-refused")
    await visit.state("error")
    assert server.offers == []
    await visit.page.get_by_role("button", name="Use the speech sample").click()
    await visit.state("live")


@pytest.mark.parametrize(
    ("error", "trouble", "words"),
    [
        ("NotFoundError", "microphone-missing", "No microphone found"),
        ("NotReadableError", "microphone-busy", "Another program may be holding it"),
    ],
)
async def test_microphone_not_there(open_page: OpenPage, error: str, trouble: str, words: str) -> None:
    visit = await open_page(script=REJECT.format(error))
    await visit.page.click("#main")
    assert words in await visit.notice(trouble)
    await expect(visit.page.get_by_role("status")).to_contain_text(words)


async def test_a_page_without_https_offers_the_sample(open_page: OpenPage, server: PageServer) -> None:
    visit = await open_page(url=server.url.replace("127.0.0.1", "insecure.test"), microphone=False)
    await expect(visit.page.get_by_role("radio", name="Speech sample")).to_be_checked()
    await visit.page.get_by_role("radio", name="Microphone").check(force=True)
    await visit.page.click("#main")
    assert "https" in await visit.notice("microphone-insecure")


async def test_server_full_is_tried_again_by_itself(open_page: OpenPage, server: PageServer) -> None:
    server.refusals.append(problem(*FULL, headers={"Retry-After": "3"}))
    visit = await open_page()
    await visit.page.click("#main")
    words = await visit.notice("full")
    assert "The server is full" in words
    assert re.search(r"All 4 sessions are taken\. Trying again in [123] s\.", words)
    await visit.state("live")
    await expect(visit.page.locator("#notice")).to_be_hidden()
    assert len(server.offers) == 2


async def test_server_full_can_be_tried_at_once_or_given_up(open_page: OpenPage, server: PageServer) -> None:
    server.refusals += [problem(*FULL, headers={"Retry-After": "600"}) for _ in range(2)]
    visit = await open_page()
    await visit.page.click("#main")
    await visit.notice("full")
    async with visit.page.expect_response("**/offer"):
        await visit.page.get_by_role("button", name="Try now").click()
    await visit.state("full")
    await visit.page.get_by_role("button", name="Cancel").click()
    await visit.state("idle")
    await expect(visit.page.locator("#notice")).to_be_hidden()


async def test_a_problem_is_told_in_the_servers_words(open_page: OpenPage, server: PageServer) -> None:
    server.refusals.append(problem(422, "unsupported-offer", "Unsupported offer", "the offer needs Opus"))
    visit = await open_page()
    await visit.page.click("#main")
    words = await visit.notice("refused")
    assert "Unsupported offer" in words
    assert "The offer needs Opus." in words
    await visit.page.get_by_role("button", name="Start").click()
    await visit.state("live")


async def test_server_away_at_the_start(open_page: OpenPage) -> None:
    visit = await open_page()
    await visit.page.route("**/offer", lambda route: route.abort())
    await visit.page.click("#main")
    assert "The server does not answer" in await visit.notice("unreachable")
    await visit.state("reconnecting")
    await visit.page.unroute("**/offer")
    await visit.state("live")


@pytest.mark.parametrize("how", ["drop()", "fallSilent()"])
async def test_connection_lost_comes_back_by_itself(open_page: OpenPage, server: PageServer, how: str) -> None:
    visit = await open_page()
    await visit.page.click("#main")
    await visit.page.wait_for_selector("#stage.playing")
    await visit.page.route("**/offer", lambda route: route.abort())
    await server.peer.evaluate(how)
    assert "Connection lost" in await visit.notice("lost")
    await visit.state("reconnecting")
    await visit.page.unroute("**/offer")
    await visit.state("live")
    await visit.page.wait_for_selector("#stage.playing")
    assert server.ended == ["session-1"]


async def test_leaving_the_page_ends_the_session(open_page: OpenPage, server: PageServer) -> None:
    visit = await open_page()
    await visit.page.click("#main")
    await visit.state("live")
    await visit.page.goto("about:blank")
    await asyncio.wait_for(server.deleted.wait(), 20)  # the request outlives its page
    assert server.ended == ["session-1"]


async def test_sound_held_back_by_the_browser(open_page: OpenPage) -> None:
    visit = await open_page(
        script="const play = HTMLMediaElement.prototype.play; HTMLMediaElement.prototype.play = function () { "
        "return this.muted ? play.call(this) : Promise.reject(new DOMException('', 'NotAllowedError')); };"
    )
    await visit.page.click("#main")
    assert "The sound is off" in await visit.notice("sound-blocked")
    await visit.page.wait_for_selector("#stage.playing")
    await visit.page.get_by_role("button", name="Turn the sound on").click()
    assert await visit.page.evaluate("document.getElementById('video').muted") is False
    await expect(visit.page.locator("#notice")).to_be_hidden()


async def test_browser_without_webrtc(open_page: OpenPage) -> None:
    visit = await open_page(script="delete window.RTCPeerConnection")
    assert "It has no WebRTC" in await visit.notice("unsupported")
    await expect(visit.page.get_by_role("button", name="Start")).to_be_disabled()
    assert visit.complaints == []
