"""deploy/addresses.py: addresses as clients and proxies write them, and the lines that they belong to."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.addresses import address_or_nothing, line_of, plain_address

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(
    lambda address: not getattr(address, "ipv4_mapped", None)
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7\t", "192.0.2.7"),
        ("192.0.2.7:80", "192.0.2.7"),
        ("2001:DB8::0:7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:80", "2001:db8::7"),
        ("fe80::7%eth0", "fe80::7"),
        ("[fe80::7%eth0]:80", "fe80::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
    ],
)
def test_an_address_is_read_in_every_usual_spelling(written, meant):
    assert plain_address(written) == meant


@pytest.mark.parametrize(
    "text",
    ["", " ", "localhost", "unknown", "3232235777", "0x7f.1", "192.0.2", "192.0.2.256", "192.0.2.7 8", ":80"]
    + ["192.0.2.7:", "192.0.2.7:http", "[192.0.2.7", "2001:db8::7]:80", "[::1]80", "[]:80", "%eth0", "::1::"]
    + ["10.0.0.0/8", "192.0.2.7,", "٣.1.1.1"],
)
def test_what_is_no_address_is_none(text):
    assert plain_address(text) == ""


@given(ADDRESSES, st.integers(0, 65535))
def test_a_port_and_a_zone_change_no_address(address, port):
    bare = str(address)
    with_port = f"[{bare}]:{port}" if address.version == 6 else f"{bare}:{port}"
    assert plain_address(bare) == plain_address(with_port) == bare
    assert address.version == 4 or plain_address(f"[{bare}%eth0]:{port}") == bare


@given(st.text(max_size=60))
def test_any_text_is_read_as_an_address_or_as_none(text):
    plain = plain_address(text)
    assert plain == "" or plain == str(ipaddress.ip_address(plain))


@given(st.ip_addresses(v=6, network="2001:db8::/32"), st.integers(0, 2**64 - 1), st.integers(1, 2**16 - 1))
def test_an_ipv6_line_is_its_first_64_bits(address, host, other_network):
    neighbour = ipaddress.ip_address(int(address) >> 64 << 64 | host)
    stranger = ipaddress.ip_address(int(address) ^ other_network << 64)
    assert line_of(str(neighbour)) == line_of(str(address))
    assert line_of(str(stranger)) != line_of(str(address))


def test_an_ipv4_line_is_the_address_and_what_is_no_address_stands_for_itself():
    assert line_of("192.0.2.7") == line_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert (line_of(""), line_of("unix")) == ("", "unix")


def test_a_setting_is_an_address_or_nothing():
    assert [address_or_nothing(text) for text in ("", "::0001", "::ffff:10.0.0.1")] == ["", "::1", "10.0.0.1"]
    for text in ("localhost", " 10.0.0.1", "10.0.0.0/8", "10.0.0.1:80"):
        with pytest.raises(ValueError):
            address_or_nothing(text)
