"""`Change`: one entry of the history (`recorder`), and the kinds and causes there are.

Plain data without references into the state, so a reader may keep it; bounded, whatever peers say. Any thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

TEXT_LEN_MAX: Final = 256
"""The characters of one text of an entry; what is longer ends in an ellipsis."""
SLOT_RANGES_MAX: Final = 64
"""The ranges of slots in one entry. More of them make further entries."""
ID_SHOWN_LEN: Final = 8
_ID_LEN: Final = 40
_DAY_MS: Final = 24 * 3600 * 1000
_LINKS: Final = {"from": "its", "to": "our"}


class ChangeKind(Enum):
    """What changed. The value is the word that CLUSTERLOG and the file show."""

    JOINED = "joined"
    """A node is known now: `new` is its address and role."""
    LEFT = "left"
    """A node is no longer known: it left, never answered, or this node was reset. `old` is its address."""
    FORGOTTEN = "forgotten"
    """A node was forgotten, by order or because a peer was told to."""
    RENAMED = "renamed"
    """This node has another id: `old` and `new` are the ids."""
    ROLE = "role"
    """`primary` or `replica`."""
    PRIMARY = "primary"
    """The id of the primary that a replica follows; "" for none."""
    SLOTS = "slots"
    """`slots` have another owner: `old` and `new` are ids, "" for none."""
    CONFIG_EPOCH = "config-epoch"
    CURRENT_EPOCH = "current-epoch"
    FAILURE = "failure"
    """`ok`, `pfail` (this node suspects it) or `fail` (the majority does); `detail` names who reported it."""
    ADDRESS = "address"
    """`ip:port@bus-port`; "" if it is not known."""
    HOSTNAME = "hostname"
    NODENAME = "nodename"
    CLIENT_ADDRESS = "client-address"
    """What clients are told in the place of the address."""
    ZONE = "availability-zone"
    SHARD = "shard"
    """The id of the shard; "" if it was not known."""
    STATE = "state"
    """The cluster's state as this node sees it: `ok`, or `fail` with the reason of CLUSTER INFO."""
    ELECTION_ASKED = "election-asked"
    """This node asks for votes in the epoch `new`."""
    ELECTION_WON = "election-won"
    ELECTION_LOST = "election-lost"
    """`detail` says why."""
    VOTE_GIVEN = "vote-given"
    """This node votes for `node_id` in the epoch `new`."""
    VOTE_REFUSED = "vote-refused"
    """This node does not vote for `node_id` in the epoch `new`; `detail` says why."""
    VOTE_RECEIVED = "vote-received"
    """`node_id` has voted for this node in the epoch `new`."""
    ORDER = "order"
    """This node was given the order `new` and has taken it; what it changed follows."""


class Cause(Enum):
    """Why. The value is the word that CLUSTERLOG and the file show."""

    HEADER = "header"
    """The source said it of itself, or claimed it, in the header of a packet."""
    EXTENSION = "extension"
    """The source said it of itself in an extension of a heartbeat, or asked to forget a node."""
    GOSSIP = "gossip"
    """The source said it of another node. FAIL: its report made the majority full."""
    UPDATE = "update"
    """The source told of a node with a greater epoch, by an UPDATE."""
    FAIL_MESSAGE = "fail-message"
    """The source told that a majority holds the node FAIL."""
    ANSWER = "answer"
    """The node answered a PING again."""
    NODE_TIMEOUT = "node-timeout"
    """The node was silent for longer than cluster-node-timeout."""
    ADDRESS_TAKEN = "address-taken"
    """Another node, the source, answered at the node's address."""
    VOTING = "voting"
    """A request for votes, a vote, or a step of a manual failover."""
    ELECTION = "election"
    """An election of this node."""
    EPOCH_COLLISION = "epoch-collision"
    """Two primaries had one config epoch."""
    LETTER = "letter"
    """A MODULE message among clusterbus nodes: an order to replicas, a vote on slots, a word about leaving."""
    CONFIGURATION = "configuration"
    """A directive of this node has another value."""
    CLOCK = "clock"
    """What comes with time: a handshake that was not answered, a delay that is over."""
    LINK = "link"
    """A link came up, ended, or could not be dialled."""
    ORDER = "order"
    """An order of a client or of the program; `detail` repeats it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who or what caused a change. `source` is a node's id, "client" or "program". `packet` is the name of a packet's
    type, "" if none told it; `link` then says who dialled the link that it came on: "from" the node, or we "to" it.
    """

    cause: Cause
    source: str
    packet: str = ""
    link: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One change in this node's picture of the cluster.

    `number` counts up from 1 since the node started, `at_ms` is the unix time in milliseconds. `node_id` is the node
    that the change is about, `old` and `new` are its values as text, and `slots` the inclusive (first, last) ranges of
    a change of owners. `source` is the id of the node whose packet said so, this node's own id if it decided that
    itself, or "client" or "program" if it was ordered. `packet` is the name of the packet's type, "" if none told it;
    `link` says who dialled the link that it came on: "from" that node, or we "to" it.
    """

    number: int
    at_ms: int
    kind: ChangeKind
    node_id: str
    old: str
    new: str
    cause: Cause
    source: str
    packet: str = ""
    link: str = ""
    slots: tuple[tuple[int, int], ...] = ()
    detail: str = ""

    def fields(self) -> dict[str, str | int]:
        """The entry by the names that CLUSTERLOG and the file use, each with a text or a number."""
        return {
            "number": self.number,
            "time": self.at_ms,
            "kind": self.kind.value,
            "node": self.node_id,
            "old": self.old,
            "new": self.new,
            "cause": self.cause.value,
            "source": self.source,
            "packet": self.packet,
            "link": self.link,
            "slots": slots_text(self.slots),
            "detail": self.detail,
        }

    def __str__(self) -> str:
        """One line for people, with ids cut to eight characters and the time in UTC."""
        minutes, in_minute_ms = divmod(self.at_ms % _DAY_MS, 60_000)
        at = f"{minutes // 60:02d}:{minutes % 60:02d}:{in_minute_ms // 1000:02d}.{in_minute_ms % 1000:03d}"
        slots = f" {slots_text(self.slots)}" if self.slots else ""
        values = self.kind.value + slots
        if self.old and self.new:
            values += f" {_shown(self.old)} -> {_shown(self.new)}"
        elif self.new or self.old:
            values += f" {_shown(self.new)}" if self.new else f" {_shown(self.old)} -> none"
        told = f" in {self.packet} on {_LINKS[self.link]} link, by" if self.packet else " by"
        text = f"{at} #{self.number} {_shown(self.node_id)} {values}"
        text += f" ({self.cause.value}{told} {_shown(self.source)})"
        return f"{text}: {self.detail}" if self.detail else text


def slots_text(ranges: Iterable[tuple[int, int]]) -> str:
    """Ranges as CLUSTER NODES writes them: `0-99 101`."""
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def bounded(text: str) -> str:
    """At most TEXT_LEN_MAX characters of a text."""
    return text if len(text) <= TEXT_LEN_MAX else text[: TEXT_LEN_MAX - 1] + "…"


def _shown(text: str) -> str:
    return text[:ID_SHOWN_LEN] if len(text) == _ID_LEN else text
