"""Which addresses agents may reach, whatever stands for them."""

import pytest

from domain.errors import Invalid
from workers.gateway.guards import Guard, read_allowances

PUBLIC = ["8.8.8.8", "1.1.1.1", "192.0.0.9", "2001:4860:4860::8888", "2a00::1", "2620:fe::fe"]
REFUSED = [
    *("127.0.0.1", "127.255.255.255", "::1"),  # loopback
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),  # private
    *("fc00::1", "fdff::1", "fec0::1"),
    *("169.254.169.254", "fe80::1", "fe80::1%1"),  # link-local
    *("100.64.0.1", "100.127.255.255"),  # carrier-grade NAT
    *("224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"),  # multicast
    *("0.0.0.0", "0.1.2.3", "::"),  # unspecified
    *("255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1"),
    *("2001:db8::1", "3fff::1", "100::1", "5f00::1", "4000::1", "2001::1", "2001:20::1"),
    *("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),  # IPv4 in IPv6
    *("::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8"),
    *("2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "2001:0:7f00:1::"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached(address: str) -> None:
    assert Guard([]).admits("api.example.com", 443, address)


def test_public_addresses_in_another_spelling_are_too() -> None:
    assert Guard([]).admits("x", 443, "::ffff:8.8.8.8")
    assert Guard([]).admits("x", 443, "64:ff9b::8.8.8.8")


@pytest.mark.parametrize("address", REFUSED)
def test_no_other_address_is(address: str) -> None:
    assert not Guard([]).admits("api.example.com", 443, address)
    assert not Guard([]).admits(address, 80, address)
    assert not Guard(read_allowances("other.example.com, 8.8.8.0/24")).admits("x", 443, address)


@pytest.mark.parametrize(
    ("allowed", "host", "port", "address"),
    [
        ("tools.internal", "tools.internal", 8080, "10.0.0.1"),
        ("Tools.Internal.", "TOOLS.internal.", 1, "169.254.169.254"),
        ("tools.internal:8080", "tools.internal", 8080, "::1"),
        ("bücher.internal", "xn--bcher-kva.internal", 80, "10.0.0.1"),
        ("10.0.0.0/8", "whatever", 80, "10.1.2.3"),
        ("10.0.0.1/8", "whatever", 80, "10.1.2.3"),
        ("10.0.0.0/8", "whatever", 80, "::ffff:10.1.2.3"),
        ("127.0.0.1", "localhost", 80, "127.0.0.1"),
        ("127.0.0.1:80", "localhost", 80, "127.0.0.1"),
        ("::1", "localhost", 80, "::1"),
        ("[::1]", "localhost", 80, "::1"),
        ("[::1]:80", "::1", 80, "::1"),
        ("fd00::/8", "whatever", 80, "fd12::1"),
        (" a , ,10.0.0.1 ,b", "b", 80, "10.0.0.9"),
    ],
)
def test_the_operator_allows_exceptions(allowed: str, host: str, port: int, address: str) -> None:
    assert Guard(read_allowances(allowed)).admits(host, port, address)


@pytest.mark.parametrize(
    ("allowed", "host", "port", "address"),
    [
        ("tools.internal", "evil-tools.internal", 80, "10.0.0.1"),
        ("tools.internal", "tools.internal.evil.com", 80, "10.0.0.1"),
        ("tools.internal", "a.tools.internal", 80, "10.0.0.1"),
        ("tools.internal:8080", "tools.internal", 80, "10.0.0.1"),
        ("127.0.0.1:80", "localhost", 81, "127.0.0.1"),
        ("[::1]:80", "localhost", 81, "::1"),
        ("10.0.0.0/16", "whatever", 80, "10.1.0.1"),
        ("127.0.0.1", "127.0.0.1", 80, "127.0.0.2"),
        ("localhost", "127.0.0.1", 80, "127.0.0.1"),
        ("", "", 80, "127.0.0.1"),
    ],
)
def test_an_exception_is_no_more_than_it_says(
    allowed: str, host: str, port: int, address: str
) -> None:
    assert not Guard(read_allowances(allowed)).admits(host, port, address)


@pytest.mark.parametrize(
    "text", ["http://tools", "a:b", "a:99999", "10.0.0.0/99", "*.internal", "a b", "1:2:3", "a/8"]
)
def test_what_allows_nothing_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(Invalid, match="ARGOSY_OUTBOUND_ALLOW has") as refused:
        read_allowances(f"good.internal,{text}")

    assert refused.value.field == "ARGOSY_OUTBOUND_ALLOW"
