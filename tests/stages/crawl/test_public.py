"""Which IP addresses belong to the open internet, in every form that carries one."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.crawl.addresses import is_public

INSIDE_IPV4 = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4"),
    *("192.88.99.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24", "240.0.0.0/4", "168.63.129.16/32"),
]
INSIDE_IPV6 = [
    *("::1/128", "::/128", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "100::/64", "2001:2::/48", "2001:10::/28"),
    *("2001:20::/28", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10"),
    *("fec0::/10", "ff00::/8"),
]
OUTSIDE = ["1.1.1.1", "8.8.8.8", "39.156.66.10", "100.63.255.255", "100.128.0.0", "168.63.129.15", "172.32.0.0"]
OUTSIDE += ["192.0.1.0", "198.20.0.0", "223.255.255.255"]


def forms(inner: int, bits: int) -> dict[str, int]:
    """An IPv4 address in every form of IPv6 that leads to it; the bits are taken where a form leaves some free."""
    public, low = int(ipaddress.IPv4Address("8.8.8.8")), bits & (1 << 64) - 1
    return {
        "mapped": 0xFFFF << 32 | inner,
        "NAT64": 0x64FF9B << 96 | inner,
        "6to4": 0x2002 << 112 | inner << 80 | bits & (1 << 80) - 1 & ~(0xFFFFFFFF << 32),
        "Teredo client": 0x20010000 << 96 | public << 64 | low >> 32 << 32 | inner ^ 0xFFFFFFFF,
        "Teredo server": 0x20010000 << 96 | inner << 64 | low >> 32 << 32 | public ^ 0xFFFFFFFF,
        "ISATAP": 0x26064700 << 96 | (bits >> 64 & 0xFFFFFFFF) << 64 | 0x5EFE << 32 | inner,
        "ISATAP, universal": 0x26064700 << 96 | 0x02005EFE << 32 | inner,
        "ISATAP in 6to4": 0x2002 << 112 | public << 80 | 0x5EFE << 32 | inner,
    }


def ipv6(number: int) -> str:
    return str(ipaddress.IPv6Address(number))


@st.composite
def members(draw: st.DrawFn, networks: list[str]) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The first, the last, or any address of a network."""
    network = ipaddress.ip_network(draw(st.sampled_from(networks)))
    last = network.num_addresses - 1
    return network[draw(st.sampled_from([0, last]) | st.integers(0, last))]


@given(members(INSIDE_IPV4), st.integers(0, (1 << 96) - 1))
def test_no_form_of_an_address_inside_is_public(inner, bits):
    assert not is_public(str(inner))
    found = {name for name, number in forms(int(inner), bits).items() if is_public(ipv6(number))}
    assert not found


@given(members([f"{address}/32" for address in OUTSIDE]), st.integers(0, (1 << 96) - 1))
def test_every_form_of_an_address_outside_is_public(inner, bits):
    assert is_public(str(inner))
    refused = {name for name, number in forms(int(inner), bits).items() if not is_public(ipv6(number))}
    assert not refused


@given(members(INSIDE_IPV6))
def test_networks_inside_are_not_public(address):
    assert not is_public(str(address))
    assert not is_public(f"{address}%eth0")


@given(st.integers(0, (1 << 128) - 1))
def test_only_what_iana_gives_out_is_public(number):
    address = ipaddress.IPv6Address(number)
    given_out = [ipaddress.IPv6Network(name) for name in ("2000::/3", "::ffff:0:0/96", "64:ff9b::/96")]
    assert not is_public(str(address)) or any(address in network for network in given_out)


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.170.2", "168.63.129.16", "192.0.0.192", "100.100.100.200"),
        *("fd00:ec2::254", "fd20:ce::254", "::168.63.129.16", "fe80::a9fe:a9fe%eth0"),
    ],
)
def test_metadata_services_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["2606:4700::1111", "240e:0:1::1", "2408:8000::1", "2001:200::1", "2a00:1450::1"])
def test_sites_are_public(address):
    assert is_public(address)
