from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from signaling.errors import InvalidOffer, UnsupportedOffer
from webrtc_server.offer import Offer, parse_offer, without_mdns

DATA = Path(__file__).resolve().parent.parent / "data"


def crlf(text: str) -> str:
    return "\r\n".join(text.splitlines()) + "\r\n"


CHROMIUM = crlf((DATA / "chromium-offer.sdp").read_text())
"""Sound sent and received, picture received, a data channel; not allowed to use the microphone yet."""

FIREFOX = crlf(
    """\
v=0
o=mozilla...THIS_IS_SDPARTA-99.0 8018432165418513184 0 IN IP4 0.0.0.0
s=-
t=0 0
a=fingerprint:sha-256 6C:1F:84:EB:9A:40:0E:BB:63:93:FA:D0:0C:1F:AF:EF:FF:41:1F:3C:9C:B2:7C:DB:53:E7:22:93:64:F9:C5:21
a=group:BUNDLE 0 1
a=ice-options:trickle
a=msid-semantic:WMS *
m=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101
c=IN IP4 0.0.0.0
a=sendrecv
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1
a=ice-pwd:e0f1d2c3b4a5968778695a4b3c2d1e0f
a=ice-ufrag:1a2b3c4d
a=mid:0
a=msid:{0f5e5b0c-0d3f-4d9b-8a3c-7d1f2e6b9a11} {5a4c1b8e-2f7d-4e6a-9b3c-8d0e1f2a3b4c}
a=rtcp-mux
a=rtpmap:109 opus/48000/2
a=rtpmap:9 G722/8000/1
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000/1
a=setup:actpass
a=ssrc:1234567890 cname:{d1e2f3a4-b5c6-4d7e-8f90-a1b2c3d4e5f6}
m=video 9 UDP/TLS/RTP/SAVPF 120 126
c=IN IP4 0.0.0.0
a=recvonly
a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
a=fmtp:126 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1
a=fmtp:120 max-fs=12288;max-fr=60
a=ice-pwd:e0f1d2c3b4a5968778695a4b3c2d1e0f
a=ice-ufrag:1a2b3c4d
a=mid:1
a=rtcp-fb:120 nack
a=rtcp-fb:120 nack pli
a=rtcp-fb:126 nack pli
a=rtcp-mux
a=rtpmap:120 VP8/90000
a=rtpmap:126 H264/90000
a=setup:actpass
a=ssrc:987654321 cname:{d1e2f3a4-b5c6-4d7e-8f90-a1b2c3d4e5f6}
"""
)


def sections(text: str) -> list[str]:
    """The session's lines, then each media section."""
    return re.split(r"(?m)^(?=m=)", text)


def without(text: str, prefix: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(prefix))


def test_an_offer_of_chromium() -> None:
    offer = parse_offer(CHROMIUM)
    assert offer.kinds == ("audio", "video")
    assert ".local" in CHROMIUM
    assert ".local" not in offer.sdp


def test_an_offer_of_firefox() -> None:
    assert parse_offer(FIREFOX) == Offer(FIREFOX, ("audio", "video"))


def test_kinds_keep_the_order_of_the_offer() -> None:
    session, sound, picture, data = sections(CHROMIUM)
    assert parse_offer(session + data + picture + sound).kinds == ("video", "audio")


def test_only_mdns_candidates_are_left_out() -> None:
    host = "a=candidate:1 1 udp 2113937151 192.0.2.7 33391 typ host\r\n"
    mdns = host.replace("192.0.2.7", "2742d784-0e81-4d3f-8fa9-1b2c05d0e964.local")
    other = "a=x-note:server.local is mine\r\n"
    assert without_mdns(host + mdns + other) == host + other
    assert without_mdns(without(CHROMIUM, "a=candidate:")) == without(CHROMIUM, "a=candidate:")


def test_lines_may_end_as_they_like() -> None:
    assert parse_offer(CHROMIUM.replace("\r\n", "\n")).kinds == ("audio", "video")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\0",
        "hello",
        "v=0",
        "v=0\r\n",
        "m=audio",
        "{}",
        "<html></html>",
        "ä" * 1000,
        "v=0\r\no=-\r\n",
        "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
        CHROMIUM[5:],
        "\r\n".join(sorted(CHROMIUM.splitlines())),
        CHROMIUM[:200],
    ],
    ids=range(15),
)
def test_what_is_no_session_description_is_invalid(text: str) -> None:
    with pytest.raises(InvalidOffer):
        parse_offer(text)


@pytest.mark.parametrize("browser", [CHROMIUM, FIREFOX], ids=["chromium", "firefox"])
@pytest.mark.parametrize(
    ("prefix", "word"), [("a=ice-ufrag", "ice-ufrag"), ("a=ice-pwd", "ice-pwd"), ("a=fingerprint", "fingerprint")]
)
def test_what_no_webrtc_offer_lacks_is_missed_by_name(browser: str, prefix: str, word: str) -> None:
    with pytest.raises(InvalidOffer, match=word):
        parse_offer(without(browser, prefix))


def test_without_sound_it_cannot_be_served() -> None:
    session, _, picture, data = sections(CHROMIUM)
    with pytest.raises(UnsupportedOffer, match="0 audio sections"):
        parse_offer(session + picture + data)


def test_without_a_picture_it_cannot_be_served() -> None:
    session, sound, _, data = sections(CHROMIUM)
    with pytest.raises(UnsupportedOffer, match="0 video sections"):
        parse_offer(session + sound + data)


def test_with_two_pictures_it_cannot_be_served() -> None:
    session, sound, picture, data = sections(CHROMIUM)
    with pytest.raises(UnsupportedOffer, match="2 video sections"):
        parse_offer(session + sound + picture + picture.replace("a=mid:1", "a=mid:3") + data)


@pytest.mark.parametrize("direction", ["recvonly", "inactive"])
def test_a_caller_who_sends_no_sound_cannot_be_served(direction: str) -> None:
    with pytest.raises(UnsupportedOffer, match="send sound"):
        parse_offer(CHROMIUM.replace("a=sendrecv", f"a={direction}"))


@pytest.mark.parametrize("direction", ["sendonly", "inactive"])
def test_a_caller_who_takes_no_picture_cannot_be_served(direction: str) -> None:
    with pytest.raises(UnsupportedOffer, match="receive video"):
        parse_offer(CHROMIUM.replace("a=recvonly", f"a={direction}"))


def test_a_caller_who_only_speaks_and_one_who_also_shows_are_served() -> None:
    parse_offer(CHROMIUM.replace("a=sendrecv", "a=sendonly"))
    parse_offer(CHROMIUM.replace("a=recvonly", "a=sendrecv"))


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_a_rejected_section_is_no_section(kind: str) -> None:
    with pytest.raises(UnsupportedOffer, match=kind):
        parse_offer(CHROMIUM.replace(f"m={kind} 9 ", f"m={kind} 0 "))


def test_other_media_are_not_served() -> None:
    session, sound, picture, _ = sections(CHROMIUM)
    with pytest.raises(UnsupportedOffer, match="text"):
        parse_offer(session + sound + picture + picture.replace("m=video", "m=text"))


def mutated(text: str, rng: random.Random) -> str:
    lines = text.split("\r\n")
    for _ in range(rng.randint(1, 6)):
        n = rng.randrange(len(lines))
        match rng.randrange(7):
            case 0:
                del lines[n]
            case 1:
                lines.insert(n, lines[rng.randrange(len(lines))])
            case 2:
                lines[n] = lines[n][: rng.randrange(len(lines[n]) + 1)]
            case 3:
                place = rng.randrange(len(lines[n]) + 1)
                lines[n] = lines[n][:place] + rng.choice("\0:= /9Ä\n.-") + lines[n][place + 1 :]
            case 4:
                lines[n] = re.sub(r"\d+", lambda _: str(rng.choice([-1, 0, 7, 65_536, 10**20])), lines[n])
            case 5:
                other = rng.randrange(len(lines))
                lines[n], lines[other] = lines[other], lines[n]
            case _:
                lines[n] = lines[n].replace(" ", rng.choice(["", "  ", "\t"]))
        lines = lines or [""]
    return "\r\n".join(lines)


@pytest.mark.parametrize("browser", [CHROMIUM, FIREFOX], ids=["chromium", "firefox"])
def test_damaged_offers_are_served_or_refused_and_nothing_else(browser: str) -> None:
    rng = random.Random(2024)
    outcomes = {"served": 0, "InvalidOffer": 0, "UnsupportedOffer": 0}
    for _ in range(400):
        text = mutated(browser, rng)
        try:
            offer = parse_offer(text)
        except (InvalidOffer, UnsupportedOffer) as refusal:
            outcomes[type(refusal).__name__] += 1
        else:
            outcomes["served"] += 1
            assert sorted(offer.kinds) == ["audio", "video"]
            assert ".local " not in "".join(re.findall("a=candidate:.*", offer.sdp))
    assert min(outcomes.values()) > 0, outcomes
