"""Checks what all mutations share: the `request_id`, and names that people choose."""

from __future__ import annotations

from google.protobuf.message import Message

from control_plane.errors import invalid_argument
from job_store.records import Request

MAX_NAME = 200
MAX_REQUEST_ID = 200


def idempotency(request: Message, method: str) -> Request | None:
    """Return the request's id and a digest of its other fields; None where it has no id.

    The digest is of deterministic bytes, so the same call from any client has the same one.
    """
    request_id: str = request.request_id  # type: ignore[attr-defined]
    if not request_id:
        return None
    check_request_id(request_id)
    body = type(request)()
    body.CopyFrom(request)
    body.ClearField("request_id")
    return Request.of(request_id, method, body.SerializeToString(deterministic=True))


def check_request_id(request_id: str) -> None:
    """Check a request id.

    Raises:
        RpcError: It is too long, or not printable.
    """
    if len(request_id) > MAX_REQUEST_ID or not request_id.isprintable():
        rule = f"it must be 1 to {MAX_REQUEST_ID} printable characters; try a UUID"
        raise invalid_argument("request_id", f"`request_id` is {request_id[:80]!r}; {rule}")


def check_name(
    name: str, field: str = "name", *, required: bool = False, longest: int = MAX_NAME
) -> str:
    """Return a name without surrounding space.

    Raises:
        RpcError: The name is empty although required, too long, or not printable.
    """
    name = name.strip()
    if (required and not name) or len(name) > longest or not name.isprintable():
        low = 1 if required else 0
        shown = name[:80] + ("…" if len(name) > 80 else "")
        rule = f"it must have {low} to {longest} printable characters; shorten it"
        if not name:
            rule = "it must not be empty; give one to find it by"
        raise invalid_argument(field, f"`{field}` is {shown!r}; {rule}")
    return name
