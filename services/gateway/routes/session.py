"""Signs a browser in: trades its token for a cookie, which links and event streams carry too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from gateway.documents import StrictRoute
from gateway.doorkeeper import Doorkeeper, client_of
from gateway.problems import ProblemError
from gateway.routes.declare import NO_CONTENT, answer, only_problems
from gateway.schemas.session import SessionBody, SessionState
from gateway.sessions import SIGN_IN, Session, Sessions

routes = APIRouter(prefix=SIGN_IN, tags=["session"], route_class=StrictRoute)


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


SessionsOf = Annotated[Sessions, Depends(_sessions)]


def _state(sessions: Sessions, session: Session | None, *, authenticated: bool) -> dict[str, Any]:
    expires = None
    if session is not None:
        moment = datetime.fromtimestamp(session.expires, UTC)
        expires = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "required": sessions.required,
        "authenticated": authenticated,
        "expires_at": expires,
    }


def _doorkeeper(request: Request) -> Doorkeeper:
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    return doorkeeper


DoorkeeperOf = Annotated[Doorkeeper, Depends(_doorkeeper)]


@routes.get("", response_model=SessionState, responses=only_problems(403, 429))
async def get_session(request: Request, sessions: SessionsOf, doorkeeper: DoorkeeperOf) -> Response:
    """Whether a token is asked for here, and whether this request carries a good one."""
    session = sessions.read(request.headers.get("cookie", ""))
    bearer = doorkeeper.accepts(request.headers.get("authorization"), client_of(request.scope))
    state = _state(sessions, session, authenticated=bearer or session is not None)
    return answer(state, 200, **{"Cache-Control": "no-store"})


@routes.post(
    "",
    status_code=201,
    response_model=SessionState,
    responses=only_problems(400, 401, 403, 408, 413, 415, 429),
)
async def begin_session(
    body: SessionBody, request: Request, sessions: SessionsOf, doorkeeper: DoorkeeperOf
) -> Response:
    """Trade a token for a session cookie: HttpOnly, and for requests of this origin only."""
    if not sessions.required:
        return answer(_state(sessions, None, authenticated=True), 201)
    if not doorkeeper.lets_in(body.token, client_of(request.scope)):
        raise ProblemError(
            "the token is not known; use one that the gateway was started with",
            reason="UNAUTHENTICATED",
        )
    session = sessions.begin(body.token)
    cookie = sessions.set_cookie(session, secure=_by_https(request))
    state = _state(sessions, session, authenticated=True)
    return answer(state, 201, **{"Set-Cookie": cookie, "Cache-Control": "no-store"})


def _by_https(request: Request) -> bool:
    """Whether the page that asks came by https; behind a proxy only its Origin tells."""
    origin = request.headers.get("origin", "")
    return origin.startswith("https://") or request.url.scheme == "https"


@routes.delete("", status_code=NO_CONTENT, responses=only_problems(403))
async def end_session(sessions: SessionsOf) -> Response:
    """Forget the session in this browser. Others go on until they expire or the token changes."""
    return Response(status_code=NO_CONTENT, headers={"Set-Cookie": sessions.end_cookie()})
