"""`Idempotency-Key`: a POST that is sent again is answered as it was the first time."""

import hashlib
import re
from typing import Any

from litestar import Request

from api.auth import Caller
from api.headers import header
from domain.errors import Malformed
from domain.handling import Idempotency

HEADER = b"idempotency-key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


async def idempotency_of(request: Request[Any, Any, Any], caller: Caller) -> Idempotency | None:
    """Return the key that the request carries, for this caller and this method, path and body.

    Keys belong to the API key that sends them: nobody gets another's answers.
    """
    key = header(request.scope, HEADER)
    if key is None or request.method != "POST":
        return None
    if not _KEY.fullmatch(key):
        raise Malformed(
            "Idempotency-Key must be 1 to 255 visible ASCII characters.", field="Idempotency-Key"
        )
    asked = f"{request.method} {request.scope['path']}\n".encode() + await request.body()
    return Idempotency(scope=caller.key_id, key=key, body_hash=hashlib.sha256(asked).hexdigest())
