"""Image references: `ghcr.io/acme/agent:1.2`, as container engines read them."""

import re

from msgspec import Struct

from domain.errors import Invalid

DOCKER_HUB = "docker.io"
MAX_REFERENCE = 500  # characters

_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST})/)??(?P<name>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class Reference(Struct, frozen=True, kw_only=True):
    """Which image. host: with its port, if one is named. digest: empty unless one is named."""

    host: str
    name: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """Return it with all that was left out."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.name}{tag}{digest}"


def read_reference(text: str, *, field: str = "image") -> Reference:
    """Read a reference. What has no host is Docker Hub's, what has no tag `latest`. Raises Invalid.

    The first part is a host if it has a dot or a port, or is `localhost`.
    """
    found = _REFERENCE.fullmatch(text) if len(text) <= MAX_REFERENCE else None
    if found is None:
        raise Invalid(
            f"{field}: {text[:100]!r} is not an image, such as ghcr.io/acme/agent:1.2 or "
            "ghcr.io/acme/agent@sha256:<64 hex digits>.",
            field=field,
        )
    first, slash, rest = text.partition("/")
    if slash and (found["host"] or "." in first or ":" in first or first == "localhost"):
        host, remainder = first.lower(), rest
    else:
        host, remainder = DOCKER_HUB, text
    name = re.split(r"[:@]", remainder, maxsplit=1)[0]
    if host == DOCKER_HUB and "/" not in name:
        name = f"library/{name}"
    digest = found["digest"] or ""
    return Reference(
        host=host, name=name, tag=found["tag"] or ("" if digest else "latest"), digest=digest
    )
