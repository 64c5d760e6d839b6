"""Every refusal Argosy can give, and the HTTP status that goes with it.

ArgosyError
├─ Malformed            400  cannot be read at all: not JSON, a missing or mistyped field
├─ Unauthenticated      401  no key, an unknown one, or one that was revoked or has expired
├─ Forbidden            403  the key is known, and may not do this
│  └─ PolicyDenied      403  a policy refused it; carries the policy and the rule
├─ NotFound             404
├─ Conflict             409  not in this state
│  ├─ NameTaken         409  the name belongs to something else in this scope
│  ├─ VersionConflict   409  somebody else was first; safe to retry
│  ├─ Fenced            409  this worker's attempt was taken over; it must stop
│  ├─ AlreadyAnswered    409  this very command was done before; its answer is stored
│  ├─ KeyInUse           409  the same request is under way: send it again
│  └─ IdempotencyMismatch 409  the key was used before, with another body
├─ TooLarge             413
├─ Invalid              422  well formed, but nonsense; names the field
├─ LimitReached         429  carries when to come back
└─ Unavailable          503  a dependency is down; the same request may work later
   └─ WrittenByNewer    503  this process is too old for what is stored; another may not be

A refusal is raised by `decide`, by ports and by the API, and becomes an RFC 9457 problem whose
`type` is `/problems/<type>` for ever. Anything else that is raised is a bug and becomes a 500.
"""

from typing import ClassVar


class ArgosyError(Exception):
    """A refusal: `detail` says what is wrong here, `members` are its facts for programs."""

    type: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, detail: str, /, **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members


class Malformed(ArgosyError):
    """The request cannot be read: not JSON, an unknown field, a wrong type. Send another body."""

    type = "malformed"
    status = 400
    title = "The request cannot be read"


class Unauthenticated(ArgosyError):
    """There is no key, or not one that is valid now. Send a valid one."""

    type = "unauthenticated"
    status = 401
    title = "A valid API key is required"


class Forbidden(ArgosyError):
    """The key is valid but its role or workspace does not allow this."""

    type = "forbidden"
    status = 403
    title = "This key may not do that"


class PolicyDenied(Forbidden):
    """A policy refused the call; `policy` and `rule` say which."""

    type = "policy-denied"
    title = "A policy refused this"


class NotFound(ArgosyError):
    """There is no such thing, or not one this key can see."""

    type = "not-found"
    status = 404
    title = "There is no such thing"


class Conflict(ArgosyError):
    """The thing exists, and is not in a state that allows this."""

    type = "conflict"
    status = 409
    title = "Not possible in this state"


class NameTaken(Conflict):
    """The name is somebody else's in this scope. Choose another, or use the thing that has it."""

    type = "name-taken"
    title = "The name is taken"


class VersionConflict(Conflict):
    """Somebody else changed the stream first. Read it again and retry; nothing was written."""

    type = "version-conflict"
    title = "Somebody else was first"


class Fenced(Conflict):
    """Another worker took this work over. Stop at once; nothing was written."""

    type = "fenced"
    title = "This attempt was taken over"


class AlreadyAnswered(Conflict):
    """The command was done before. Never seen by callers: they get the answer it had then."""

    type = "already-answered"
    title = "The command was done before"


class KeyInUse(Conflict):
    """A request with this idempotency key is under way. Send it again, under the same key."""

    type = "idempotency-key-in-use"
    title = "The same request is under way"


class IdempotencyMismatch(Conflict):
    """The idempotency key was used before with another body. Use a new key."""

    type = "idempotency-mismatch"
    title = "The idempotency key belongs to another request"


class TooLarge(ArgosyError):
    """The body, file or value is larger than the limit it names."""

    type = "too-large"
    status = 413
    title = "Too large"


class Invalid(ArgosyError):
    """Well formed, but nonsense. `field` names the place, the detail what is allowed."""

    type = "invalid"
    status = 422
    title = "A value is not allowed"

    def __init__(self, detail: str, /, *, field: str, **members: object) -> None:
        super().__init__(detail, field=field, **members)
        self.field = field


class LimitReached(ArgosyError):
    """A limit was reached; `retry_after` is in seconds."""

    type = "limit-reached"
    status = 429
    title = "A limit was reached"


class Unavailable(ArgosyError):
    """Something Argosy needs is down. The same request may work later."""

    type = "unavailable"
    status = 503
    title = "Not available right now"


class WrittenByNewer(Unavailable):
    """What is stored here was written by a newer version of Argosy. Upgrade the process that says
    so; while an upgrade is under way, the same request may be answered by another.
    """

    type = "written-by-newer"
    title = "Written by a newer version"

    def __init__(self, category: str) -> None:
        super().__init__(
            f"This {category} was written to by a newer version of Argosy: upgrade this process.",
            category=category,
        )
