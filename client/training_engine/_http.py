"""What calls look like over HTTP, and what HTTP's answers and failures mean; no I/O here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from httpx_sse import ServerSentEvent

from training_engine import _version, errors, proxies
from training_engine._call import Call
from training_engine._options import STREAM_SILENCE_SECONDS, Options
from training_engine.errors import FieldProblem, TrainingEngineError
from training_engine.records import Plain

T = TypeVar("T")
CONNECT_SECONDS = 5.0
_FALLBACKS: dict[int, type[TrainingEngineError]] = {
    400: errors.InvalidArgumentError,
    401: errors.UnauthenticatedError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    413: errors.PayloadTooLargeError,
    416: errors.InvalidArgumentError,
    422: errors.InvalidArgumentError,
    429: errors.RateLimitedError,
    502: errors.UnavailableError,
    503: errors.UnavailableError,
    504: errors.UnavailableError,
}


def client_settings(url: str, options: Options) -> dict[str, Any]:
    """Return the arguments of an httpx client."""
    try:
        base = httpx.URL(url.rstrip("/"))
    except httpx.InvalidURL as error:
        raise _bad_url(url) from error
    if base.scheme not in ("http", "https") or not base.host:
        raise _bad_url(url)
    headers = {"user-agent": f"training-engine-sdk/{_version.__version__}"}
    if options.token:
        headers["authorization"] = f"Bearer {options.token}"
    return {
        "base_url": base,
        "headers": headers,
        "timeout": httpx.Timeout(options.timeout, connect=CONNECT_SECONDS),
        "trust_env": not proxies.is_loopback(url),
    }


def make_transport(kind: Callable[..., T], url: str) -> T:
    """Return an httpx transport of this kind, with the proxy that the environment names for `url`.

    httpx's own reading of the environment fails on a `no_proxy` that names an IPv6 network.

    Raises:
        InvalidArgumentError: There is a proxy that cannot be used.
    """
    variable = proxies.http_variable(url)
    proxy = os.environ[variable] if variable else None
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    # Every open stream holds a connection: a limit would make calls wait for streams to end.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    try:
        return kind(limits=limits, proxy=proxy)
    except ImportError as error:
        raise errors.InvalidArgumentError(
            f"{variable} names a SOCKS proxy, which needs a package that is not installed; install "
            f"it with `pip install socksio`, or unset {variable}, or add {proxies.host_of(url)} to "
            "no_proxy"
        ) from error
    except (ValueError, httpx.InvalidURL):  # not shown: it may hold a password
        raise errors.InvalidArgumentError(
            f"{variable} does not name a proxy that can be used; write http://HOST:PORT, or unset "
            "it"
        ) from None


def _bad_url(url: str) -> errors.InvalidArgumentError:
    return errors.InvalidArgumentError(
        f"url is {url!r}; it must begin with http:// or https:// and name a host, "
        "e.g. http://localhost:8000"
    )


def request_settings(call: Call) -> dict[str, Any]:
    """Return the arguments of an httpx request."""
    settings: dict[str, Any] = {
        "method": call.verb,
        "url": call.path,
        "params": call.query,
        "headers": {"idempotency-key": call.request_id} if call.request_id else {},
    }
    if (body := call.body) is not None:
        settings["content"] = _json(body)
        settings["headers"]["content-type"] = "application/json"
    return settings


def _json(body: Plain) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except ValueError as error:
        raise errors.InvalidArgumentError(
            f"the request holds a number that JSON cannot say ({error}); use a finite one or null"
        ) from error


def stream_settings(call: Call, cursor: str = "", after_step: int | None = None) -> dict[str, Any]:
    """Return the arguments of a request for server-sent events behind a cursor, or a step."""
    settings = request_settings(call)
    settings["headers"]["accept"] = "text/event-stream"
    settings["timeout"] = httpx.Timeout(STREAM_SILENCE_SECONDS, connect=CONNECT_SECONDS)
    if cursor:
        settings["headers"]["last-event-id"] = cursor
    elif after_step is not None:
        settings["params"] = {**call.query, "after_step": after_step}
    return settings


def download_settings(call: Call, offset: int, by_url: bool) -> dict[str, Any]:
    """Return the arguments of a request for a file from `offset` on; see `AsyncTransport`."""
    settings = request_settings(call)
    settings["timeout"] = httpx.Timeout(STREAM_SILENCE_SECONDS, connect=CONNECT_SECONDS)
    settings["headers"] |= _from_offset(offset)
    if not by_url:
        settings["params"] = {**call.query, "redirect": "false"}
    return settings


def presigned_request(url: str, offset: int) -> httpx.Request:
    """Return the request for a file from `offset` on, at an address in a bucket."""
    timeout = httpx.Timeout(STREAM_SILENCE_SECONDS, connect=CONNECT_SECONDS)
    return httpx.Request(
        "GET", url, headers=_from_offset(offset), extensions={"timeout": timeout.as_dict()}
    )


def _from_offset(offset: int) -> dict[str, str]:
    whole = {"accept-encoding": "identity"}  # offsets count the file's own bytes
    return whole | {"range": f"bytes={offset}-"} if offset else whole


def other_address(response: httpx.Response) -> str:
    """Return where the file is instead; empty where the response has it."""
    moved = response.status_code == httpx.codes.TEMPORARY_REDIRECT
    return str(response.headers.get("location", "")) if moved else ""


def upload_settings(call: Call, size_bytes: int) -> dict[str, Any]:
    """Return the arguments of a request whose body is a file, the content itself apart."""
    return {
        "method": call.verb,
        "url": call.path,
        "params": call.query,
        "headers": {
            "idempotency-key": call.request_id,
            "content-type": "application/octet-stream",
            "content-length": str(size_bytes),
        },
        "timeout": httpx.Timeout(STREAM_SILENCE_SECONDS, connect=CONNECT_SECONDS),
    }


def first_byte(response: httpx.Response) -> int:
    """Return the offset in the file at which the body begins."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return 0
    content_range = response.headers.get("content-range", "")
    match = re.match(r"bytes (\d+)-", content_range)
    if match is None:
        raise errors.InternalError(f"a partial answer came with Content-Range {content_range!r}")
    return int(match[1])


def answer(response: httpx.Response) -> Plain:
    """Return a read response's JSON object; raise what a failed one means."""
    if not response.is_success:
        raise problem(response)
    if not response.content:
        return {}
    try:
        plain = response.json()
    except ValueError:
        plain = None
    if not isinstance(plain, dict):
        title = _page_title(response)
        raise errors.InternalError(
            f"{response.url.copy_with(query=None)} answered with something that is not a JSON "
            f"object{f' (a page titled {title!r})' if title else ''}; is it the gateway?"
        )
    return plain


def problem(response: httpx.Response) -> TrainingEngineError:
    """Return the exception for a failed response, whose body has been read."""
    try:
        body = response.json()
    except ValueError:
        body = None
    retry_after = response.headers.get("retry-after", "")
    seconds = float(retry_after) if retry_after.isdigit() else None
    if not isinstance(body, dict):
        body = {"detail": _foreign_answer(response)}
    return _from_problem(body, response.status_code, seconds)


_REMEDIES = {
    407: "the proxy wants a name and a password: write them into its variable",
    413: "it takes smaller bodies only: raise its limit (client_max_body_size in nginx), or upload "
    "over gRPC (--address)",
    429: "it limits how often it may be asked: wait, or raise its limit",
    502: "it cannot reach the gateway: see whether the gateway runs",
    503: "it cannot reach the gateway: see whether the gateway runs",
    504: "the gateway did not answer it in time: see whether the gateway runs",
}


def _foreign_answer(response: httpx.Response) -> str:
    """Describe an answer that is not of the gateway's form: a proxy's or another server's."""
    url = response.url.copy_with(query=None)
    server = response.headers.get("server", "")[:40]
    said = _page_title(response)
    facts = [f"server: {server}"] * bool(server) + [f"it says {said!r}"] * bool(said)
    text = f"{url} answered {response.status_code}"
    text += f" ({'; '.join(facts)})" if facts else ""
    if response.has_redirect_location:
        return f"{text} and points to {response.headers['location'][:200]}; use that address"
    remedy = _REMEDIES.get(response.status_code, "see whether the URL is the gateway's")
    return f"{text}, which is not the gateway's answer but that of something before it; {remedy}"


def _page_title(response: httpx.Response) -> str:
    """Return the title of an HTML page in one short line; empty where there is none."""
    title = re.search(r"<title[^>]*>([^<]*)", response.text[:10_000], re.IGNORECASE)
    return " ".join(title[1].split())[:100] if title else ""


def _from_problem(body: Plain, status: int, retry_after: float | None) -> TrainingEngineError:
    """Return the exception for an `application/problem+json` object."""
    return errors.error_for(
        body.get("reason") or "",
        body.get("detail") or body.get("title") or f"the gateway answered {status}",
        fallback=_FALLBACKS.get(status, errors.InternalError),
        errors=[
            FieldProblem(item.get("field") or "", item.get("message") or "")
            for item in body.get("errors") or ()
        ],
        retry_after=retry_after,
    )


def event(sent: ServerSentEvent) -> Plain | None:
    """Return a server-sent event as a gRPC stream would have it; None for one without data."""
    data = _event_data(sent)
    return None if data is None else {"cursor": sent.id, sent.event: data}


def answer_event(sent: ServerSentEvent) -> Plain | None:
    """Return one of the answers that a call sends as events; None for an event without data."""
    return _event_data(sent)


def _event_data(sent: ServerSentEvent) -> Plain | None:
    try:
        data: Plain | None = json.loads(sent.data) if sent.data else None
    except ValueError as error:
        raise errors.InternalError(
            f"the stream holds an event that is not JSON ({error}); is it the gateway?"
        ) from error
    if sent.event == "error" and data is not None:
        raise _from_problem(data, int(data.get("status") or 503), None)
    return data


def failure(error: httpx.HTTPError, url: str, *, streaming: bool = False) -> TrainingEngineError:
    """Return the exception for a request that got no whole answer."""
    variable = proxies.http_variable(url)
    if variable and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return errors.UnavailableError(
            f"{url} was asked through the proxy that {variable} names, and it gave no connection "
            f"({error or type(error).__name__}); see whether the proxy works, or add "
            f"{proxies.host_of(url)} to no_proxy"
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return errors.UnavailableError(f"no gateway at {url}; start one with `training-engine up`")
    if isinstance(error, httpx.TimeoutException) and not streaming:
        return errors.DeadlineExceededError(f"{url} gave no answer in time")
    if isinstance(error, httpx.RemoteProtocolError) and str(error).startswith("illegal "):
        return errors.InvalidArgumentError(
            f"{url} does not speak HTTP; if it is the control plane's gRPC port, use --address "
            f"{httpx.URL(url).netloc.decode()}, or TrainingEngine(…) without over_rest"
        )
    return errors.UnavailableError(
        f"the connection to {url} broke ({error or type(error).__name__})"
    )
