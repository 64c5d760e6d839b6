"""What the doctor says: one finding for each thing that it looked at."""

from typing import Literal

from msgspec import Struct

type Status = Literal["ok", "warning", "failure"]


class Finding(Struct, frozen=True):
    """check: what was looked at; several findings may share it.

    detail: what was found. advice: what to do about it, empty where there is nothing to do.
    """

    check: str
    status: Status
    detail: str
    advice: str = ""


def good(check: str, detail: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(check, "ok", detail)


def doubtful(check: str, detail: str, advice: str) -> Finding:
    """Return that something works, and not as well as it should."""
    return Finding(check, "warning", detail, advice)


def broken(check: str, detail: str, advice: str) -> Finding:
    """Return that something does not work."""
    return Finding(check, "failure", detail, advice)
