"""What the dialect's tools, policies and model providers have in common."""

from collections.abc import Callable, Mapping
from typing import Any

from litestar import Response

from api.calls import POSITION_HEADER, Call, Outcome
from api.credentials import check_secret
from api.documents import Shown, apply_once, find_by_id
from api.tenancy import Place
from domain.catalog import Spec
from domain.documents import Kind
from domain.sources import check_name

DELETED: Mapping[str, str] = {"status": "deleted"}


async def declare[S: Spec](
    call: Call,
    place: Place,
    kind: Kind[S],
    name: str,
    spec_of: Callable[[S | None, str | None], S],
    *,
    secret: str | None = None,
) -> Outcome[Shown[S]]:
    """Make a document, or change the one of that name. Raises Invalid."""
    name = check_name(name.strip(), field="name")
    if secret:
        check_secret(secret, field="credentials")
    made = await apply_once(call, place, kind, name, spec_of, secret=secret)
    facts = made.facts
    shown = await find_by_id(call, kind, facts.document_id, name, revision=facts.revision)
    return Outcome(shown, made.position, made.recorded)


def answer(shown: dict[str, Any], made: Outcome[Any], status: int = 201) -> Response[Any]:
    """Return an answer that says where the log was when it was made."""
    headers = {POSITION_HEADER: str(made.position)}
    return Response(shown, status_code=status, headers=headers)
