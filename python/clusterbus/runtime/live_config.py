"""Hands directives to the engine: at the start, and whenever CONFIG SET changes one of them.

Owns the table from directives to the engine's setters. Other directives are not here, because their users read Config
at the time of use; what TLS is made of comes from `LiveCertificates`, which follows its own directives. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clusterbus._core import Engine
from clusterbus.config import Config
from clusterbus.config.listening import Places
from clusterbus.runtime.live_certificates import LiveCertificates

UNACKNOWLEDGED_TIMEOUT_MIN_MS: Final = 2_000
"""Time enough for several retransmissions, however short the node timeout is."""
UNACKNOWLEDGED_TIMEOUT_MAX_MS: Final = 60_000
"""However long the node timeout is, a connection that does not move keeps its unsent messages no longer."""

_SETTERS: Final[tuple[tuple[tuple[str, ...], Callable[[Engine, Config], None]], ...]] = (
    (("io-threads",), lambda engine, config: engine.resize(config.io_threads)),
    (
        ("io-threads-always-active",),
        lambda engine, config: engine.set_always_active(config.io_threads_always_active),
    ),
    (
        ("cluster-link-sendbuf-limit",),
        lambda engine, config: engine.set_link_sendbuf_limit(config.cluster_link_sendbuf_limit),
    ),
    (
        ("cluster-node-timeout",),
        lambda engine, config: engine.set_unacknowledged_timeout(unacknowledged_timeout_ms(config)),
    ),
)


def unacknowledged_timeout_ms(config: Config) -> int:
    """How long the kernel may wait for a peer's system: the node timeout, within limits (P7)."""
    return min(max(config.cluster_node_timeout, UNACKNOWLEDGED_TIMEOUT_MIN_MS), UNACKNOWLEDGED_TIMEOUT_MAX_MS)


def build_engine(config: Config, certificates: LiveCertificates | None = None) -> Engine:
    """An engine built from the directives; it does not listen yet."""
    return Engine(
        io_threads=config.io_threads,
        shares_workers=True,
        io_threads_always_active=config.io_threads_always_active,
        link_sendbuf_limit_bytes=config.cluster_link_sendbuf_limit,
        max_links=config.cluster_max_links,
        max_handshakes=config.cluster_max_tls_handshakes,
        max_anonymous_bytes=config.cluster_max_anonymous_bytes,
        handshake_timeout_ms=config.cluster_tls_handshake_timeout,
        first_packet_timeout_ms=config.cluster_first_packet_timeout,
        unacknowledged_timeout_ms=unacknowledged_timeout_ms(config),
        tls=certificates.bus if certificates is not None else None,
    )


def follow_config(config: Config, engine: Engine, certificates: LiveCertificates) -> list[Callable[[], None]]:
    """From now on every change of these directives, and of what TLS is made of, reaches the engine. Call all returned
    functions to stop that.
    """
    return [
        certificates.on_renewed(lambda: engine.set_tls(certificates.bus)),
        certificates.follow(),
        *(config.on_change(_listener(engine, setter), *names) for names, setter in _SETTERS),
    ]


def listen(config: Config, engine: Engine) -> Callable[[], None]:
    """Opens the bus port on every address of `bind`, and moves it when that or the port changes; links stay (P41).

    Raises ConfigError, which names the address. Call the returned function to move no more.
    """
    places = Places(
        lambda place: engine.listen(place.ip, place.port, tls=place.tls, backlog=max(1, config.tcp_backlog)),
        engine.stop_listening,
        " for the cluster bus",
    )

    def move(config: Config, _changed: frozenset[str] = frozenset()) -> None:
        places.move(config, [(config.bus_port, config.tls_cluster)])

    move(config)
    return config.on_change(move, "bind", "port", "tls-port", "tls-cluster")


def _listener(engine: Engine, setter: Callable[[Engine, Config], None]) -> Callable[[Config, frozenset[str]], None]:
    def apply(config: Config, _changed: frozenset[str]) -> None:
        setter(engine, config)

    return apply
