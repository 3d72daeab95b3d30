"""How many files this process may have open, and how many of them are kept for the bus.

Owns the soft limit of a process that is a node (`clusterbus node`), and the reserve that no client may take. Must never
change the limit of a program that has a `Bus` in it: that is the program's own. Main thread.
"""

from __future__ import annotations

import resource
from typing import Final

from clusterbus.config import Config
from clusterbus.errors import ConfigError
from clusterbus.member.member import Member
from clusterbus.runtime.log import logger

OPEN_FILES_MIN: Final = 32
"""A node with nothing to do has nearly so many files open: sockets, pipes of the event loop, edges, nodes.conf."""
FILES_RESERVED: Final = 32
"""Kept free beside those of links: nodes.conf, its folder, certificates read again (CONFIG_MIN_RESERVED_FDS)."""
LINKS_PER_NODE: Final = 2
"""One from each side."""


def open_files_max() -> int | None:
    """The soft limit of this process; None where there is none."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if most == resource.RLIM_INFINITY else most


def files_for_clients(member: Member) -> int | None:
    """A client whose descriptor is not below this gets no place: what is left is for links, also those of known nodes
    that are not up yet. The kernel gives the lowest descriptor that is free, so this counts all that is open.

    Links that are not up get at most half of what those that are up leave: nodes that are down, or that a member only
    tells of, must not shut out the clients who could have them forgotten.
    """
    most = open_files_max()
    if most is None:
        return None
    links = member.driver.engine.stats()["links"]
    links_due = max(0, LINKS_PER_NODE * (member.state.known_nodes_count - 1) - links)
    links_room = max(0, most - FILES_RESERVED - links)
    return most - FILES_RESERVED - min(links_due, links_room // 2)


def check_limit() -> None:
    """Raises ConfigError where not even the event loop could be opened."""
    most = open_files_max()
    if most is not None and most < OPEN_FILES_MIN:
        raise ConfigError(f"ulimit -n is {most}, and a node needs at least {OPEN_FILES_MIN} open files to start")


def raise_limit(config: Config) -> None:
    """As valkey-server does at its start: makes room for maxclients as far as the hard limit goes, and says what it did
    (adjustOpenFilesLimit).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    wanted = config.maxclients + config.cluster_max_links + FILES_RESERVED
    got = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if got > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (got, hard))
        logger.info("the limit of open files is raised from %d to %d", soft, got)
    most = max(got, soft)
    if most < config.maxclients + FILES_RESERVED:
        logger.warning(
            "maxclients is %d, and there can be %d open files (ulimit -n): clients are refused before the last of them "
            "are in use, which are kept for the bus",
            config.maxclients,
            most,
        )
