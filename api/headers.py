"""Reading one header without making an object of them all, which every request would pay for."""

from litestar.types import HTTPScope


def header(scope: HTTPScope, name: bytes) -> str | None:
    """Return the first header of a lower-case name; None where there is none."""
    for each, value in scope["headers"]:
        if each == name:
            return value.decode("latin-1")
    return None
