"""Where a node listens, and how that moves when `bind` or a port changes: `Place`, `Places`.

Owns the order of opening and closing, and the errors. The sockets are the user's, by two functions. Main thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from clusterbus.config.address import BindAddress, address_text
from clusterbus.config.config import Config
from clusterbus.errors import ConfigError

Listener = TypeVar("Listener")


class PortInUseError(ConfigError):
    """Another socket listens at the address."""


class Place(NamedTuple):
    """An address and port to listen on, and whether TLS is spoken there."""

    ip: str
    port: int
    tls: bool


class Places(Generic[Listener]):
    """The open listeners of one purpose. `listen` opens one and raises OSError; `close` closes one. `purpose` follows
    the address in errors: " for the cluster bus".
    """

    def __init__(
        self, listen: Callable[[Place], Listener], close: Callable[[Listener], None], purpose: str = ""
    ) -> None:
        self._listen, self._close, self._purpose = listen, close, purpose
        self._open: dict[Place, Listener] = {}

    @property
    def listeners(self) -> Mapping[Place, Listener]:
        """Every open listener."""
        return self._open

    def move(self, config: Config, ports: Iterable[tuple[int, bool]]) -> list[Listener]:
        """Listens on each of `ports`, (port, TLS), at every address of `bind`, and nowhere else; returns the new ones.

        Listeners that stay are not touched, and new ones are open before old ones close, unless an old one is in the
        way. An optional address that this machine lacks is skipped. Raises ConfigError, which names the address, with
        all listeners as they were.
        """
        ports = list(ports)
        addresses = config.bind_addresses if ports else ()
        wanted = {Place(address.ip, port, tls): address for port, tls in ports for address in addresses}
        gone = {place: listener for place, listener in self._open.items() if place not in wanted}
        opened: dict[Place, Listener] = {}
        closed: list[Place] = []
        try:
            for place, address in wanted.items():
                if place not in self._open and (listener := self._opened(place, address, gone, closed)) is not None:
                    opened[place] = listener
            served = {(place.port, place.tls) for place in wanted if place in opened or place in self._open}
            for port, tls in ports:
                if (port, tls) not in served:
                    bind = f"'bind {config.text('bind')}'"
                    raise ConfigError(f"port {port}{self._purpose}: no address of {bind} can be listened on")
        except BaseException:
            for listener in opened.values():
                self._close(listener)
            for place in closed:
                with contextlib.suppress(OSError):  # another process was quicker
                    self._open[place] = self._listen(place)
            raise
        for place in gone:
            if place not in closed:
                self._close_at(place)
        self._open |= opened
        return list(opened.values())

    def close(self) -> None:
        """Closes all."""
        for place in list(self._open):
            self._close_at(place)

    def _close_at(self, place: Place) -> None:
        self._close(self._open.pop(place))

    def _opened(
        self, place: Place, address: BindAddress, gone: Mapping[Place, Listener], closed: list[Place]
    ) -> Listener | None:
        """Opens a place; None if its address is optional and missing. Closes listeners that go if one is in the way."""
        try:
            return self._listen(place)
        except OSError as error:
            in_the_way = [old for old in gone if old.port == place.port and old not in closed]
            if error.errno != errno.EADDRINUSE or not in_the_way:
                self._excuse(place, address, error)
                return None
        for old in in_the_way:
            self._close_at(old)
        closed += in_the_way
        try:
            return self._listen(place)
        except OSError as error:
            self._excuse(place, address, error)
            return None

    def _excuse(self, place: Place, address: BindAddress, error: OSError) -> None:
        if not address.excuses(error):
            reason = os.strerror(error.errno) if error.errno else str(error)
            kind = PortInUseError if error.errno == errno.EADDRINUSE else ConfigError
            raise kind(f"can't listen on {address_text(place.ip, place.port)}{self._purpose}: {reason}") from None
