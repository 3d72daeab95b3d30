"""Effects: what the protocol core asks the world to do. They are the only way out of `ClusterState`.

Owned by the cluster layer. Only `member/driver.py` carries them out, in order. Plain immutable data; knows no socket,
clock, file or randomness.
"""

from __future__ import annotations

from dataclasses import dataclass

from clusterbus.cluster.events import Event
from clusterbus.cluster.model.refusal import Refusal
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
    """Queue a PING or PONG on the link of a known node. It is encoded from the published view when it is sent (R34). If
    that view is older than what we now say of ourselves, it is encoded from `ClusterState.heartbeat` at once.
    """

    link: int
    kind: int


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Queue one message on many links. It is encoded once."""

    links: tuple[int, ...]
    message: Message


@dataclass(frozen=True, slots=True)
class BindLink:
    """The link is that of this known node: we dialled the node, or packets of it came on the link. Before that, no
    heartbeat on the link counts as quiet (H21). The link stays that node's until it ends.
    """

    link: int
    node_id: str


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close a link, which the state has forgotten already."""

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
    """A peer sent what it should not have. Log a warning, at most one for this peer and `refusal` in an interval."""

    peer: str
    refusal: Refusal
    text: str
    event: Event | None = None
    """Goes to the program whenever the line goes to the log."""


@dataclass(frozen=True, slots=True)
class Notify:
    """A typed event for `Bus.events()`."""

    event: Event


Effect = Dial | Send | SendHeartbeat | Broadcast | BindLink | CloseLink | Save | Log | Refuse | Notify
