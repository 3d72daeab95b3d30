"""What the protocol core asks the world to do: the only way out of `ClusterState`.

Owned by the cluster layer; carried out, in order, by `member/driver.py`, which alone does so. Plain immutable
data: no socket, clock, file or randomness here.
"""

from __future__ import annotations

from dataclasses import dataclass

from clusterbus.cluster.events import Event
from clusterbus.wire import Message


@dataclass(frozen=True, slots=True)
class Dial:
    """Open our outbound link to a node. Answered by `handle_link_opened` or `handle_dial_failed`."""

    node_id: str
    ip: str
    cport: int


@dataclass(frozen=True, slots=True)
class Send:
    """Queue one message on one link."""

    link: int
    message: Message


@dataclass(frozen=True, slots=True)
class SendHeartbeat:
    """Queue a PING or PONG on a link whose node is known: encoded from the state's view when it is sent (R34),
    or, where there is no view of this version, from `ClusterState.heartbeat` now."""

    link: int
    kind: int


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Queue one message on many links; encoded once."""

    links: tuple[int, ...]
    message: Message


@dataclass(frozen=True, slots=True)
class BindLink:
    """A link is proven to be this known node's: until then no heartbeat on it is taken without a look (H21). It stays
    that node's until it ends."""

    link: int
    node_id: str


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close a link; the state has forgotten it already."""

    link: int
    reason: str


@dataclass(frozen=True, slots=True)
class Save:
    """Write nodes.conf. `durable`: it must be on disk before any later effect is carried out."""

    durable: bool


@dataclass(frozen=True, slots=True)
class Log:
    """One line for the operator. `level` is debug, verbose, notice or warning, as in valkey.conf."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """A peer sent what it should not have: a warning about it, at most one for its `reason` in a while."""

    peer: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Notify:
    """A typed event for `Bus.events()`."""

    event: Event


Effect = Dial | Send | SendHeartbeat | Broadcast | BindLink | CloseLink | Save | Log | Refuse | Notify
