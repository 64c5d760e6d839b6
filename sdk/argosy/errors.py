"""Everything the client raises.

ArgosyError
├─ NotConfigured         no server is known: set ARGOSY_URL and ARGOSY_API_KEY, or start one
├─ ServerUnreachable     no answer, after all retries; the same call may work later
├─ StreamLost            a followed stream could not be resumed in time; `after` says where it was
├─ StillGoing            a wait ran out of time; the work goes on at the server
├─ UnreadableAnswer      something answered that is not Argosy
├─ UnreadableSource      a folder cannot be deployed as it is; names the file
└─ Refused               the server said no, with an RFC 9457 problem
   ├─ Malformed          400
   ├─ Unauthenticated    401
   ├─ Forbidden          403
   ├─ NotFound           404
   ├─ Conflict           409
   ├─ TooLarge           413
   ├─ Invalid            422  `field` names the place
   ├─ LimitReached       429  after all retries; `retry_after` in seconds
   └─ Unavailable        5xx  after all retries
"""

from collections.abc import Mapping


class ArgosyError(Exception):
    """Anything that went wrong; `detail` is one sentence for a person."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NotConfigured(ArgosyError):
    """No server is known. Set ARGOSY_URL and ARGOSY_API_KEY, or start `argosy dev`."""


class ServerUnreachable(ArgosyError):
    """Nothing answered at `url`, after all retries. The same call may work later."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"No answer from {url}: {why}.")
        self.url = url


class StreamLost(ArgosyError):
    """A followed stream could not be resumed. Follow again with `after` to go on from there."""

    def __init__(self, detail: str, after: int) -> None:
        super().__init__(detail)
        self.after = after


class StillGoing(ArgosyError):
    """The time to wait is over, and the work is not. It goes on; wait again or cancel it."""


class UnreadableAnswer(ArgosyError):
    """The answer is not what Argosy sends: a proxy, another program, or a much newer server."""


class UnreadableSource(ArgosyError):
    """The source cannot be sent as it is; `path` names the file."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class Refused(ArgosyError):
    """The server's problem. `type` is stable; `members` are its facts for programs."""

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        type: str = "",
        title: str = "",
        request_id: str = "",
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.type = type
        self.title = title
        self.request_id = request_id
        self.members = dict(members or {})

    @property
    def field(self) -> str:
        """The place in the request that is wrong, or empty."""
        return str(self.members.get("field", ""))


class Malformed(Refused):
    """The request could not be read."""


class Unauthenticated(Refused):
    """There is no key, or not one that is valid now."""


class Forbidden(Refused):
    """The key's role or workspace does not allow this."""


class NotFound(Refused):
    """There is no such thing, or not one that this key can see."""


class Conflict(Refused):
    """Not possible in the state the thing is in."""


class TooLarge(Refused):
    """The body, file or value is larger than allowed."""


class Invalid(Refused):
    """Well formed, but not allowed; `field` names the place."""


class LimitReached(Refused):
    """A limit was reached, and retrying did not help in time."""

    @property
    def retry_after(self) -> float:
        """Seconds until it is worth trying again."""
        seconds = self.members.get("retry_after", 1.0)
        return float(seconds) if isinstance(seconds, int | float) else 1.0


class Unavailable(Refused):
    """The server could not do it: something it needs is down, or it has a bug (500)."""


_BY_STATUS: dict[int, type[Refused]] = {
    400: Malformed,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Invalid,
    429: LimitReached,
}
_STANDARD = frozenset({"type", "title", "status", "detail", "instance", "request_id"})


def refusal(status: int, problem: Mapping[str, object], *, request_id: str = "") -> Refused:
    """Return the error for a problem document as the server sent it."""
    kind = Unavailable if status >= 500 else _BY_STATUS.get(status, Refused)
    title = str(problem.get("title") or "")
    return kind(
        str(problem.get("detail") or title or f"The server answered {status}."),
        status=status,
        type=str(problem.get("type") or "").removeprefix("/problems/"),
        title=title,
        request_id=str(problem.get("request_id") or request_id),
        members={name: value for name, value in problem.items() if name not in _STANDARD},
    )
