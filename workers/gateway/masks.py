"""Hiding secrets in what goes to an agent: a tool may repeat what it was sent.

Does not find a secret that was taken to pieces or written in a way that `spellings` lacks.
"""

import html
import json
import re
from urllib.parse import quote, quote_plus, unquote

STAR = b"*"


class Mask:
    """Replaces secrets by as many stars, so that no length that was announced becomes untrue.

    One mask a stream; holds back only what may be the beginning of a secret.
    """

    def __init__(self, *secrets: str) -> None:
        texts = {text for secret in secrets if secret for text in spellings(secret)}
        self._secrets = sorted((text.encode() for text in texts), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._secrets)))
        self._longest = max(map(len, self._secrets), default=0)
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what can be passed on now."""
        if not self._secrets:
            return chunk
        data, out, done = self._held + chunk, bytearray(), 0
        open_at = self._open_end(data)
        for found in self._pattern.finditer(data):
            if found.start() >= open_at:
                break
            out += data[done : found.start()] + STAR * len(found[0])
            done = found.end()
        passed = max(open_at, done)
        self._held = data[passed:]
        return bytes(out + data[done:passed])

    def close(self) -> bytes:
        """Return what was held back."""
        held, self._held = self._held, b""
        return self._hide(held)

    def text(self, text: str) -> str:
        """Return a whole text without the secrets, however it is percent-encoded."""
        hidden = self._hide(text.encode()).decode()
        plain = unquote(hidden)
        return hidden if self._hide(plain.encode()).decode() == plain else "*" * len(text)

    def _hide(self, data: bytes) -> bytes:
        if not self._secrets:
            return data
        return self._pattern.sub(lambda found: STAR * len(found[0]), data)

    def _open_end(self, data: bytes) -> int:
        """Return where at the end a secret may begin that is not all there yet."""
        since = max(0, len(data) - self._longest + 1)
        starts = [_open_start(data, secret, since) for secret in self._secrets]
        return min(starts, default=len(data))


def _open_start(data: bytes, secret: bytes, since: int) -> int:
    start = data.find(secret[:1], since)
    while start >= 0:
        rest = data[start:]
        if len(rest) < len(secret) and secret.startswith(rest):
            return start
        start = data.find(secret[:1], start + 1)
    return len(data)


def spellings(secret: str) -> set[str]:
    """Return how a secret is written in texts, headers, URLs, JSON and HTML."""
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {
        secret,
        secret.encode().decode("latin-1"),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        html.escape(secret),
        *in_json,
        *(text.replace("/", "\\/") for text in in_json),
    }
