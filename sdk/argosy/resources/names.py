"""Telling ids from names."""

import re

_UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


def is_id(text: str) -> bool:
    """Whether `text` is an id rather than a name."""
    return bool(_UUID.match(text))
