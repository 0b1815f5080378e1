"""Who is asking: IP addresses as they are written, and whose line they belong to."""

import functools
import ipaddress
import re
from contextlib import suppress


def plain_address(text: str) -> str:
    """An IP address in its usual spelling, without a port or a zone (`[fe80::1%eth0]:80`); "" for anything
    else."""
    found = re.fullmatch(r"\s*(?:\[([^]]+)](?::\d+)?|([\d.]+):\d+|([^\s[]+))\s*", text)
    with suppress(ValueError, TypeError):
        address = ipaddress.ip_address((found[1] or found[2] or found[3]).partition("%")[0])
        return str(getattr(address, "ipv4_mapped", None) or address)
    return ""


@functools.lru_cache(maxsize=1024)
def line_of(address: str) -> str:
    """Whose line an address is: an IPv4 address itself, and the first 64 bits of an IPv6 address, as one line
    may have as many addresses as the rest holds. What is no address stands for itself."""
    plain = plain_address(address)
    if ":" not in plain:
        return plain or address
    return str(ipaddress.ip_network((plain, 64), strict=False))


def address_or_nothing(text: str) -> str:
    """The reader of a setting: an IP address in its usual spelling, or "". Raises ValueError for anything
    else."""
    return text and plain_address(str(ipaddress.ip_address(text)))
