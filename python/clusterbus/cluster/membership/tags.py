"""Tags: small texts that a node's program attaches to it, spread among clusterbus nodes and to nobody else.

Owns the form of the messages, which peers are clusterbus nodes (`Node.is_clusterbus`), and who has yet to be told. They
are MODULE messages under an id of their own, which other servers leave unread. Must never keep a tag that is not the
sender's own. Main thread.

A node tells its tags, even none, once on each link that it dialled, as soon as the link takes light messages; so those
who join later learn them too. Whoever tells is a clusterbus node, and is told anew when they change. A clusterbus node
answers with the version that it has; without this answer it is told again, since a message can be lost while its link
stays. Within one link the greater version counts, and on a new inbound link the first (`Core.forget_link`): so a node
that has restarted wins over what it said before.

    data of TELL: version, 8 bytes | for each tag: length, 2 bytes, and UTF-8 of name, then the same of value
    data of HAVE: version, 8 bytes                                                              (all big-endian)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Final

from clusterbus.cluster import constants as c
from clusterbus.cluster import pubsub
from clusterbus.cluster.core import Core
from clusterbus.cluster.events import TagsChanged
from clusterbus.cluster.membership import observing
from clusterbus.cluster.model.node import Link, Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.errors import StateError
from clusterbus.wire import ModuleMessage

TAGS_LEN_MAX_BYTES: Final = 512
"""The most bytes that all tags of a node may have together, in the form in which they are sent."""
RETELL_MS: Final = 2_000
"""A clusterbus node that has not answered for so long is told again."""
VERSION_LEN_BYTES: Final = 8
LENGTH_LEN_BYTES: Final = 2

Tags = tuple[tuple[str, str], ...]
"""Names and values, ascending by name; each name once."""


class TagMessage(IntEnum):
    """The type of a MODULE message about tags."""

    TELL = 0
    HAVE = 1


def set_own(core: Core, tags: Mapping[str, str]) -> None:
    """Makes these the tags of this node, in the place of all others. Raises StateError if they cannot be sent."""
    ordered = tuple(sorted(tags.items()))
    try:
        lengths = [LENGTH_LEN_BYTES + len(text.encode()) for tag in ordered for text in tag]
    except UnicodeEncodeError as error:
        raise StateError(f"tags cannot be sent as UTF-8: {error.reason}") from None
    if sum(lengths) > TAGS_LEN_MAX_BYTES:
        raise StateError(
            f"tags take {sum(lengths)} bytes, and may take {TAGS_LEN_MAX_BYTES}: their UTF-8, and two more for each"
            " name and value"
        )
    if "" in tags:
        raise StateError("a name in tags is empty")
    myself = core.myself
    if ordered == myself.tags:
        return
    myself.tags = ordered
    myself.tags_version += 1
    core.notify(TagsChanged(myself.node_id, dict(ordered)))
    for node in core.table.all_nodes:
        if _hears(node):
            _tell(core, node)


def greet(core: Core, link: Link, node: Node) -> None:
    """A link that we dialled takes light messages from now on. Its node is told whatever there is to tell, if it can be
    a clusterbus node.
    """
    if node.flags & c.FLAG_LIGHT_MODULE and link is node.link:
        _tell(core, node)


def receive(core: Core, sender: Node, message: ModuleMessage) -> None:
    """A known node told its tags, or answered what we told. It is refused if it makes no sense."""
    data = bytes(message.data)
    try:
        kind = TagMessage(message.module_type)
        if len(data) < VERSION_LEN_BYTES:
            raise ValueError
        version = int.from_bytes(data[:VERSION_LEN_BYTES], "big")
        tags = _decoded(data[VERSION_LEN_BYTES:]) if kind is TagMessage.TELL else ()
    except ValueError:
        core.refuse(
            Refusal.TAGS, sender.node_id, f"a message about tags, of type {message.module_type}, that makes no sense"
        )
        return
    if sender.is_observer and kind is TagMessage.HAVE:
        if version == core.myself.tags_version:
            core.table.untold.pop(sender.node_id, None)
        else:
            _tell(core, sender)
        return
    observing.takes_part(sender)
    was_known, sender.is_clusterbus = sender.is_clusterbus, True
    if kind is TagMessage.TELL:
        _take(core, sender, version, tags)
    elif version == core.myself.tags_version:
        core.table.untold.pop(sender.node_id, None)
        return
    if not was_known:
        _catch_up(core, sender)


def _take(core: Core, sender: Node, version: int, tags: Tags) -> None:
    if version > sender.tags_version:
        sender.tags_version = version
        if tags != sender.tags:
            sender.tags = tags
            core.notify(TagsChanged(sender.node_id, dict(tags)))
    _send(core, sender, TagMessage.HAVE, version.to_bytes(VERSION_LEN_BYTES, "big"))


def _catch_up(core: Core, node: Node) -> None:
    """A node turned out to be a clusterbus node: our tags may have changed since it was greeted."""
    if node.link is not None and node.link.told_tags_version == core.myself.tags_version:
        core.table.untold[node.node_id] = core.now_ms  # it has been told, and has not answered yet
    else:
        _tell(core, node)


def second(core: Core) -> None:
    """Once a second: tells those again who have not answered."""
    for node_id, told_ms in list(core.table.untold.items()):
        node = core.table.find(node_id)
        if node is None or node.link is None or not _hears(node):
            del core.table.untold[node_id]  # it is gone, or will be told on its next link
        elif core.now_ms - told_ms >= RETELL_MS:
            _tell(core, node)


def _tell(core: Core, node: Node) -> None:
    """Tells a node our tags, once its link takes light messages; until then `greet` is still to come."""
    link, myself = node.link, core.myself
    if link is None or not link.takes_light:
        return
    link.told_tags_version = myself.tags_version
    if _hears(node):
        core.table.untold[node.node_id] = core.now_ms
    version = myself.tags_version.to_bytes(VERSION_LEN_BYTES, "big")
    _send(core, node, TagMessage.TELL, version + _encoded(myself.tags))


def _hears(node: Node) -> bool:
    """Whether a node takes tags: a clusterbus node, or one that only observes and has none of its own."""
    return node.is_clusterbus or node.is_observer


def _send(core: Core, node: Node, kind: TagMessage, data: bytes) -> None:
    if node.link is None:
        return
    if observing.is_on(core):
        observing.tell(core, node)  # before its answer, so that this is not taken for that of a member
    if kind is TagMessage.HAVE or not observing.is_on(core):
        pubsub.send_module(core, node.node_id, c.TAGS_MODULE_ID, kind, data)


def _encoded(tags: Tags) -> bytes:
    texts = [text.encode() for tag in tags for text in tag]
    return b"".join(len(text).to_bytes(LENGTH_LEN_BYTES, "big") + text for text in texts)


def _decoded(data: bytes) -> Tags:
    """Raises ValueError for bytes that are no tags or too many, and for names that are empty or not ascending."""
    if len(data) > TAGS_LEN_MAX_BYTES:
        raise ValueError
    texts = list(_texts(data))
    tags = tuple(zip(texts[::2], texts[1::2], strict=True))
    names = [name for name, _ in tags]
    if "" in names or names != sorted(set(names)):
        raise ValueError
    return tags


def _texts(data: bytes) -> Iterator[str]:
    at = 0
    while at < len(data):
        end = at + LENGTH_LEN_BYTES + int.from_bytes(data[at : at + LENGTH_LEN_BYTES], "big")
        if len(data) < at + LENGTH_LEN_BYTES or end > len(data):
            raise ValueError
        yield data[at + LENGTH_LEN_BYTES : end].decode()
        at = end
