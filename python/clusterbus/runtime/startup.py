"""Turns a configuration into a member that listens: locks and reads nodes.conf, restores the state, opens the bus port.

Owns the order of these steps, and undoes them if a later one fails. Every problem becomes one ConfigError, which names
the directive, the file or the address. Main thread.
"""

from __future__ import annotations

import contextlib
import errno
import random
import resource
import secrets
from collections.abc import Iterator

from clusterbus._core import Engine
from clusterbus.cluster.operator import persist
from clusterbus.config import Config
from clusterbus.config.statements import ACCESS_RULES
from clusterbus.data_plane import DataPlane
from clusterbus.errors import ConfigError
from clusterbus.member.member import Member
from clusterbus.runtime.clock import Clock
from clusterbus.runtime.errands import Errands
from clusterbus.runtime.history_file import HistoryFile
from clusterbus.runtime.live_certificates import LiveCertificates
from clusterbus.runtime.live_config import build_engine, follow_config, listen
from clusterbus.runtime.log import logger, write_line
from clusterbus.runtime.nodes_conf import NodesFile


@contextlib.contextmanager
def opening() -> Iterator[None]:
    """Inside, what the operating system refuses becomes a ConfigError; too many open files is the usual case."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.EMFILE, errno.ENFILE):
            reason += f"; ulimit -n is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"
        raise ConfigError(f"the node cannot open what it needs: {reason}") from error


def open_member(config: Config, data_plane: DataPlane | None = None) -> tuple[Member, Engine]:
    """Returns a member that is ready to be stepped, and its engine, whose descriptor an event loop waits for.

    The state is restored or new, nodes.conf is locked, and the bus port is open. Raises ConfigError, after everything
    opened so far is closed again.
    """
    _log_without_effect(config)
    with opening(), contextlib.ExitStack() as undo:
        nodes_file = NodesFile(config.path("cluster-config-file"))
        undo.callback(nodes_file.close)
        saved = nodes_file.load(persist.parse)
        certificates = LiveCertificates(config)
        engine = build_engine(config, certificates)
        undo.callback(engine.shutdown)
        member = Member(
            config=config,
            engine=engine,
            nodes_file=nodes_file,
            clock=Clock(),
            log=write_line,
            random=random.Random(secrets.randbits(256)),
            saved=saved,
            data_plane=data_plane,
        )
        member.errands = Errands(config, certificates.peers)
        member.certificates = certificates
        _write_history(member)
        member.driver.tick_listeners.append(certificates.tick)
        if not config.has_authenticated_bus:
            logger.info(
                "The cluster bus is not authenticated: whoever reaches port %s can join. Give 'tls-cluster yes', or"
                " keep the port away from untrusted hosts; 'cluster-bus-port-protected-mode yes' makes sure of it",
                config.bus_port,
            )
        known = "Node configuration loaded" if saved is not None else "No cluster configuration found"
        logger.info("%s, I'm %s", known, member.state.myself.node_id)
        undo.callback(lambda: [stop() for stop in member.driver.at_close])
        member.driver.at_close += follow_config(config, engine, certificates)
        member.driver.at_close.append(listen(config, engine))
        undo.pop_all()
    return member, engine


def _write_history(member: Member) -> None:
    """Has the changes of the cluster written to `cluster-log-file`, if there is one."""
    path = member.config.path("cluster-log-file")
    if not path:
        return
    file = HistoryFile(path)
    driver = member.driver
    member.state.history.listeners.append(file.append)
    driver.tick_listeners.append(lambda: file.tick(driver.counters, driver.log))
    driver.at_close.append(file.close)


def _log_without_effect(config: Config) -> None:
    """Names once what was configured and does nothing here. What restricts clients elsewhere gets a warning."""
    if config.without_effect:
        logger.info("Without effect here: %s", ", ".join(config.without_effect))
    rules = [name for name in ACCESS_RULES if name in config.without_effect]
    if rules:
        logger.warning("No users are known here, so %s restricts nobody; requirepass does", " and ".join(rules))
