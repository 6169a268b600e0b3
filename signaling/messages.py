"""Bodies of requests: read, checked, and refused in words that say what to change."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from signaling.errors import InvalidOffer


class OfferRequest(BaseModel):
    """The body of POST /offer."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    sdp: str
    type: Literal["offer"]
    avatar: str | None = Field(default=None, min_length=1)


def parse_offer(body: bytes) -> OfferRequest:
    """Raises InvalidOffer, naming every field at fault."""
    try:
        offer = OfferRequest.model_validate_json(body)
    except ValidationError as invalid:
        raise InvalidOffer("; ".join(_fault(error) for error in invalid.errors(include_url=False))) from None
    if not offer.sdp.startswith("v=0"):
        raise InvalidOffer('the field "sdp" is not SDP: it does not begin with v=0')
    return offer


def _fault(error: Any) -> str:
    if error["type"] == "json_invalid":
        return f"the body is not JSON: {error['ctx']['error']}"
    if not error["loc"]:
        return "the body must be a JSON object"
    field = str(error["loc"][0])
    match error["type"]:
        case "missing":
            return f'the field "{field}" is missing'
        case "extra_forbidden":
            # Named by the client, who may have sent anything.
            return f"unknown field {field[:40]!r}"
        case "string_type":
            return f'the field "{field}" must be a string'
        case "string_too_short":
            return f'the field "{field}" is empty'
        case "literal_error":
            return f'the field "{field}" must be {error["ctx"]["expected"]}'
        case _:
            return f'the field "{field}": {error["msg"]}'
