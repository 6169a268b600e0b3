import json

import pytest

from signaling.errors import InvalidOffer
from signaling.messages import parse_offer

SDP = "v=0\r\n"


def test_offer_with_and_without_avatar():
    assert parse_offer(json.dumps({"sdp": SDP, "type": "offer"}).encode()).avatar is None
    assert parse_offer(json.dumps({"sdp": SDP, "type": "offer", "avatar": None}).encode()).avatar is None
    offer = parse_offer(json.dumps({"sdp": SDP, "type": "offer", "avatar": "ada"}).encode())
    assert (offer.sdp, offer.type, offer.avatar) == (SDP, "offer", "ada")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"type": "offer"}, 'the field "sdp" is missing'),
        ({"sdp": SDP}, 'the field "type" is missing'),
        ({}, 'the field "sdp" is missing; the field "type" is missing'),
        ({"sdp": SDP, "type": "answer"}, "the field \"type\" must be 'offer'"),
        ({"sdp": 5, "type": "offer"}, 'the field "sdp" must be a string'),
        ({"sdp": None, "type": "offer"}, 'the field "sdp" must be a string'),
        ({"sdp": "hello", "type": "offer"}, 'the field "sdp" is not SDP: it does not begin with v=0'),
        ({"sdp": "", "type": "offer"}, 'the field "sdp" is not SDP: it does not begin with v=0'),
        ({"sdp": SDP, "type": "offer", "avatar": 7}, 'the field "avatar" must be a string'),
        ({"sdp": SDP, "type": "offer", "avatar": ""}, 'the field "avatar" is empty'),
        ({"sdp": SDP, "type": "offer", "avtar": "ada"}, "unknown field 'avtar'"),
        ([], "the body must be a JSON object"),
        ("v=0", "the body must be a JSON object"),
        (None, "the body must be a JSON object"),
    ],
)
def test_what_is_wrong_is_named(body, message):
    with pytest.raises(InvalidOffer) as raised:
        parse_offer(json.dumps(body).encode())
    assert raised.value.detail == message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"sdp",
        b'{"sdp": "\xff"}',
        b"[" * 60_000,
        b'{"sdp":' * 8_000,
        b'{"sdp": "\\ud800", "type": "offer"}',
    ],
    ids=["empty", "cut off", "not JSON", "not UTF-8", "deep list", "deep object", "half a character"],
)
def test_what_is_not_json_is_refused(body):
    with pytest.raises(InvalidOffer, match=r"^the body is not JSON: "):
        parse_offer(body)


def test_a_huge_field_name_is_not_sent_back():
    with pytest.raises(InvalidOffer) as raised:
        parse_offer(json.dumps({"sdp": SDP, "type": "offer", "x" * 50_000: 1}).encode())
    assert len(raised.value.detail) < 100
