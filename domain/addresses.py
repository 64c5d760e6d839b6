"""Addresses of services as they are declared: what may be stored of one, and where it leads.

How a call's whole URL is read is in `urls.py`.
"""

from urllib.parse import urlsplit

from domain.errors import Invalid
from domain.urls import DEFAULT_PORTS, split_authority

MAX_ADDRESS = 2_000

# Names that no service outside has: what the gateway itself answers has an address there.
OWN_NAMES = ".argosy.internal"


def check_address(address: str, *, field: str, own: str = "") -> str:
    """Return an address that a service can have. Raises Invalid.

    own: the only address below OWN_NAMES that may be named. A name or password in an address would
    be a secret in plain sight, and is refused as a query is.
    """
    problem = _problem(address, own)
    if problem:
        raise Invalid(f"{field} {problem}; send one such as https://api.example.com.", field=field)
    return address


def origin(address: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a checked address."""
    scheme, _, rest = address.partition("://")
    host, port = split_authority(rest.partition("/")[0], "address")
    return scheme, host, port or DEFAULT_PORTS[scheme]


def _problem(address: str, own: str) -> str:
    if not address.startswith(("http://", "https://")):
        return "must begin with http:// or https://"
    if len(address) > MAX_ADDRESS or not address.isascii() or not address.isprintable():
        return f"must have at most {MAX_ADDRESS} visible ASCII characters"
    if "?" in address or "#" in address:
        return "must not have a query or fragment"
    try:
        authority = urlsplit(address).netloc
        if "@" in authority:
            return "must not hold a name or password"
        _, host, _ = origin(address)
    except (ValueError, Invalid):
        return "is not a URL"
    if " " in address or "\\" in address or authority.endswith((":", ":0")):
        return "is not a URL"
    if host.endswith(OWN_NAMES) and address != own:
        return f"must not be below {OWN_NAMES[1:]}, where only Argosy's own services are"
    return ""
