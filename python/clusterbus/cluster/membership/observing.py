"""What an observer (`cluster-observer yes`) does not do: own slots, vote, stand, or bring epochs into motion.

Owns that list, and the word by which an observer tells clusterbus nodes what it is: MODULE messages under
OBSERVER_MODULE_ID, without data, which other servers leave unread. An observer is a primary without slots, as every new
node is, which Valkey's rules already keep from voting and standing. To the votes on slots among clusterbus nodes it is
a server of another kind, which is not asked; to reachability it is nobody who could say anything. It hears tags, and
has none. Its id begins with zeros: of two primaries with the same config epoch, Valkey has the one with the smaller id
take a new one, unless it is the sender, so no node ever does because of an observer. Main thread. Beyond the source.
"""

from __future__ import annotations

from random import Random
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster import pubsub
from clusterbus.cluster.core import Core
from clusterbus.cluster.model.node import Kin, Link, Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.errors import ConfigError, StateError
from clusterbus.wire import ModuleMessage

ID_PREFIX: Final = "00000000"
"""How the id of an observer begins. No other node draws such an id but once in four thousand million times."""
OBSERVES: Final = 0
"""The only type of message."""


def is_on(core: Core) -> bool:
    """Whether this node only observes."""
    return core.config.cluster_observer


def new_id(random: Random, *, observes: bool) -> str:
    """A random id for this node itself."""
    drawn = f"{random.getrandbits(160):040x}"
    return ID_PREFIX + drawn[len(ID_PREFIX) :] if observes else drawn


def refuse(core: Core, what: str) -> None:
    """Raises StateError if this node is an observer: it does not do `what`, as in "owns no slots"."""
    if core.config.cluster_observer:
        raise StateError(f"This node is an observer (cluster-observer yes): it {what}")


def check_saved(core: Core) -> None:
    """Raises ConfigError if nodes.conf makes an observer something else."""
    if core.config.cluster_observer and (core.myself.slot_bits or core.myself.is_replica):
        what = "a replica" if core.myself.is_replica else "a primary with slots"
        raise ConfigError(f"cluster-observer yes: this node is {what}, as nodes.conf says")


def greet(core: Core, link: Link, node: Node) -> None:
    """A link that we dialled takes light messages from now on: its node is told that we only observe."""
    if is_on(core) and node.flags & c.FLAG_LIGHT_MODULE and link is node.link:
        tell(core, node)


def tell(core: Core, node: Node) -> None:
    """Tells a node that we only observe."""
    if node.link is not None and not node.in_handshake:
        pubsub.send_module(core, node.node_id, c.OBSERVER_MODULE_ID, OBSERVES, b"")


def receive(core: Core, sender: Node, message: ModuleMessage) -> None:
    """A known node says that it only observes: from now on it counts nowhere. Its next word may be another one."""
    if message.module_type != OBSERVES or bytes(message.data):
        core.refuse(Refusal.OBSERVER, sender.node_id, "a message about observing that makes no sense")
        return
    if sender.is_observer:
        return
    sender.is_observer, sender.is_clusterbus = True, False
    sender.kin, sender.kin_asked = Kin.OTHER, None
    core.log("verbose", f"Node {sender.name} only observes.")


def takes_part(node: Node) -> None:
    """A node has said something that no observer says: it may have been started anew as a member."""
    node.is_observer = False
