"""Seeds: the addresses by which a member finds its cluster, as text and as parts.

Owns their one spelling, that of nodes.conf: `host:port` or `host:port@busport`, an IPv6 address in brackets. Resolves
no name. Plain data, any thread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from clusterbus import arguments
from clusterbus.errors import ConfigError
from clusterbus.wire import BUS_PORT_OFFSET, PORT_MAX

SEEDS_MAX: Final = 256
_HOST: Final = r"(?:\[(?P<ipv6>[^\s\[\]@]+)\]|(?P<host>[^\s:\[\]@]+))"
_FORM: Final = re.compile(_HOST + r":(?P<port>\d{1,5})(?:@(?P<cport>\d{1,5}))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Seed:
    """One seed. `text` is as it was given; `cport` None stands for the port + 10000."""

    text: str
    host: str
    port: int
    cport: int | None


def parse(text: str) -> Seed:
    """Raises ConfigError for what is no address of a node."""
    found = _FORM.match(text)
    if found is None or (found["ipv6"] is not None and not _is_ipv6(found["ipv6"])):
        raise ConfigError(f"seed {text!r} is not of the form host:port or host:port@busport, an IPv6 address as [::1]")
    port = int(found["port"])
    cport = int(found["cport"]) if found["cport"] else None
    if not 0 < port <= PORT_MAX:
        raise ConfigError(f"seed {text!r}: the port is out of range")
    if not 0 < (cport if cport is not None else port + BUS_PORT_OFFSET) <= PORT_MAX:
        raise ConfigError(f"seed {text!r}: the bus port is out of range; host:port@busport names another one")
    return Seed(text, found["ipv6"] or found["host"], port, cport)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def parse_all(name: str, values: object) -> tuple[Seed, ...]:
    """The seeds of an argument, each once. Raises TypeError or ConfigError, which name the argument or the seed."""
    texts = [arguments.text(f"an item of {name}", value) for value in arguments.sequence(name, values, "str")]
    if len(texts) > SEEDS_MAX:
        raise ConfigError(f"{name}: more than {SEEDS_MAX} seeds")
    return tuple(parse(text) for text in dict.fromkeys(texts))
