"""A node leaves the cluster for good: it asks the others to forget it, and they do (beyond the source).

Owns the words that are said about it, MODULE messages under LEAVE_MODULE_ID that other servers leave unread, and what a
node does while it leaves and when another one does. Must never let a node ask for anybody's end but its own. Who is
told in which way, and for how long it is tried, is in `member/membership/leaving`. Main thread.

The leaver asks everybody (ASK). Those of our kind say that they will forget it (READY), or why not (REFUSED, one byte).
Then it tells them to (LEAVE, with the ids of those who are not of our kind): they say DONE, forget it a moment later,
so that this still goes out, and mention that to the named ones at once, by the extension about forgotten nodes. They
are never the subject of it themselves: Valkey up to 9.1 does not survive a node that asks to forget its sender.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster import pubsub
from clusterbus.cluster.core import Core
from clusterbus.cluster.heartbeats import heartbeat
from clusterbus.cluster.model.leave_state import LEFT, LeaveAnswer
from clusterbus.cluster.model.node import Link, Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.wire import ModuleMessage

FORGET_AFTER_MS: Final = 100
"""So long after its DONE does a node forget the leaver: closing a link drops what has not gone out on it."""
ASKED_MS: Final = 60_000
"""For so long do we remember that a node has asked."""


class Word(IntEnum):
    """The kind of a message: the type of its MODULE message."""

    ASK = 0
    READY = 1
    REFUSED = 2
    LEAVE = 3
    DONE = 4


class NoForgetting(IntEnum):
    """Why a node does not forget the leaver: the data of REFUSED."""

    IS_REPLICA = 1


_ANSWERS: Final = {
    (Word.READY, b""): LeaveAnswer.READY,
    (Word.REFUSED, NoForgetting.IS_REPLICA.to_bytes(1, "big")): LeaveAnswer.IS_OUR_REPLICA,
    (Word.DONE, b""): LeaveAnswer.DONE,
}


# ---------------------------------------------------------------- the leaver


def begin(core: Core) -> None:
    """From now on this node makes no new acquaintance, dials nobody, and stands in no election."""
    core.leave.is_leaving = True
    core.leave.answers.clear()


def give_up(core: Core) -> None:
    """The node stays after all."""
    core.leave.is_leaving = False


def say(core: Core, node_id: str, word: Word, data: bytes = b"") -> bool:
    """Sends a word to a node. False if there is no link."""
    node = core.table.find(node_id)
    if node is None or node.link is None or node.in_handshake:
        return False
    pubsub.send_module(core, node_id, c.LEAVE_MODULE_ID, word, data)
    return True


# ---------------------------------------------------------------- the others


def receive(core: Core, link: Link, sender: Node, message: ModuleMessage) -> None:
    """A word of another node of ours. What makes no sense is refused."""
    data = bytes(message.data)
    try:
        word = Word(message.module_type)
        if word in (Word.ASK, Word.LEAVE):
            _answer(core, link, sender, word, _ids(data))
        elif core.leave.is_leaving:
            core.leave.answers[sender.node_id] = _ANSWERS[word, data]
    except (ValueError, KeyError):
        core.refuse(
            Refusal.LEAVE_WORD, sender.node_id, f"a word about leaving, {message.module_type}, that makes no sense"
        )


def tick(core: Core) -> None:
    """Forgets those who are leaving, a moment after we said so, and mentions it to those who must hear it from us."""
    for node_id, asked_ms in list(core.leave.askers.items()):
        if core.now_ms - asked_ms > ASKED_MS:
            del core.leave.askers[node_id]
    for node_id, (since_ms, others) in list(core.leave.leavers.items()):
        if core.now_ms - since_ms < FORGET_AFTER_MS:
            continue
        del core.leave.leavers[node_id]
        node = core.table.find(node_id)
        if node is None:
            continue
        core.log("notice", f"Node {node.name} has left the cluster.")
        core.forgotten.add(node_id, core.now_ms + core.config.cluster_blacklist_ttl * 1000)
        core.remove_node(node, LEFT)
        for other_id in others:
            other = core.table.find(other_id)
            if other is not None and other.link is not None and other.flags & c.FLAG_EXTENSIONS:
                heartbeat.send(core, other.link, c.PONG)


def _answer(core: Core, link: Link, sender: Node, word: Word, others: tuple[str, ...]) -> None:
    """Answers on the link on which the word came: ours to the sender may be down."""
    answer, data = (Word.READY if word is Word.ASK else Word.DONE), b""
    if sender is core.myself.replicaof:
        answer, data = Word.REFUSED, NoForgetting.IS_REPLICA.to_bytes(1, "big")
    elif word is Word.ASK:
        core.leave.askers[sender.node_id] = core.now_ms
    else:
        core.leave.leavers.setdefault(sender.node_id, (core.now_ms, others))
    core.send(link, ModuleMessage(heartbeat.header(core), c.LEAVE_MODULE_ID, answer, data))


def _ids(data: bytes) -> tuple[str, ...]:
    """Ids of nodes, one behind the other. Raises ValueError."""
    count, rest = divmod(len(data), c.NODE_ID_LEN)
    if rest or count > c.LEAVE_OTHERS_MAX:
        raise ValueError(count)
    return tuple(data[at : at + c.NODE_ID_LEN].decode("ascii") for at in range(0, len(data), c.NODE_ID_LEN))
