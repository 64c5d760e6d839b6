"""Which addresses agents may reach: the public internet, and what the operator allows by name.

It judges the address that a connection is about to be made to, not the name or its spelling.
Does not protect against services that this machine offers at a public address of its own, nor
against a network that translates public addresses to private ones (NAT64 beside 64:ff9b::/96).
"""

from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from msgspec import Struct

from domain.errors import Invalid
from domain.urls import split_authority

SETTING = "ARGOSY_OUTBOUND_ALLOW"

type IPAddress = IPv4Address | IPv6Address
type IPNetwork = IPv4Network | IPv6Network

# Some clouds serve a machine's identity at an address that looks like any other.
_METADATA = frozenset({IPv4Address("168.63.129.16")})  # Azure
_TRANSLATED = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_PUBLIC = IPv6Network("2000::/3")
# Within it: tunnels and tests (2001::/23, which holds Teredo), documentation, IPv4 embedded (6to4).
_NOT_PUBLIC = tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "3ffe::/16"))
)


class Allowance(Struct, frozen=True, kw_only=True):
    """One exception: a host by name, or a network. `port`: 0 for every port."""

    host: str = ""
    network: IPNetwork | None = None
    port: int = 0

    def covers(self, host: str, port: int, address: IPAddress) -> bool:
        """Whether it lets a connection through."""
        if self.port not in (0, port):
            return False
        if self.network is not None:
            return address in self.network
        return host == self.host


class Guard:
    """Says which connections may be made."""

    def __init__(self, allowances: Sequence[Allowance]) -> None:
        self._allowances = tuple(allowances)

    def admits(self, host: str, port: int, address: str) -> bool:
        """Whether `address`, which `host` stands for, may be connected to.

        A host that is allowed by name may have any address.
        """
        meant = _meant(ip_address(address))
        host = host.lower().removesuffix(".")
        return is_public(meant) or any(each.covers(host, port, meant) for each in self._allowances)


def read_allowances(text: str) -> list[Allowance]:
    """Return what a list such as `tools.internal,ollama:11434,10.1.0.0/16` allows.

    Raises Invalid.
    """
    return [_allowance(entry) for part in text.split(",") if (entry := part.strip())]


def is_public(address: IPAddress) -> bool:
    """Whether it is an address of the public internet, as far as an address can say that."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and address not in _METADATA
    return address in _PUBLIC and not any(address in network for network in _NOT_PUBLIC)


def _meant(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that an IPv6 one leads to, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def _allowance(entry: str) -> Allowance:
    try:
        if "/" in entry or (entry.count(":") > 1 and not entry.startswith("[")):
            return Allowance(network=ip_network(entry, strict=False))
        host, port = split_authority(entry, SETTING)
    except (ValueError, Invalid):
        raise Invalid(
            f"{SETTING} has {entry!r}; it takes hosts, host:port and networks such as 10.1.0.0/16.",
            field=SETTING,
        ) from None
    try:
        return Allowance(network=ip_network(host.strip("[]")), port=port)
    except ValueError:
        return Allowance(host=host, port=port)
