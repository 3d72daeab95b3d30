"""Targets of what other nodes send and Python parses: MODULE messages of our own kinds, replies of client ports."""

from __future__ import annotations

import asyncio

from clusterbus.cluster import constants as c
from clusterbus.cluster.claims import letters
from clusterbus.cluster.operator.persist import parse
from clusterbus.runtime.peer_commands import LINE_LEN_MAX_BYTES, REPLY_LEN_MAX_BYTES, PeerCommandError, _Replies
from clusterbus.wire import ModuleMessage

from tests.cluster.solo import Solo

MODULES = sorted(c.OWN_MODULE_IDS)
MESSAGES_MAX = 8
HEAD_LEN_BYTES = 4
LETTERS_WITH_SLOTS = frozenset({letters.Kind.ASK, letters.Kind.RENEW, letters.Kind.RENEWED, letters.Kind.GIVE})
SLOTS_LEN_BYTES = c.SLOTS // 8


def modules(data: bytes) -> None:
    """MODULE messages of clusterbus nodes, from a known one: nothing raises, and the state stays one that can be saved.

    Each message has a head: the module, its type, its length, and whether the bitmaps of a letter stand in it.
    """
    solo = Solo()
    a, b = solo.puppet("a", slots=[1, 2]), solo.puppet("b", slots=[3])
    for _ in range(MESSAGES_MAX):
        if len(data) < HEAD_LEN_BYTES:
            break
        (which, kind, length, extras), data = data[:HEAD_LEN_BYTES], data[HEAD_LEN_BYTES:]
        body, data = data[:length], data[length:]
        sender = b if which & 0x80 else a
        module_id = MODULES[which % len(MODULES)]
        if module_id == c.SLOT_CLAIMS_MODULE_ID and extras & 1:
            kind %= len(letters.Kind)
            bitmaps = (kind in LETTERS_WITH_SLOTS) + (kind == letters.Kind.ASK)
            body = body[:29].ljust(29, b"\0") + (bytes([extras]) * (SLOTS_LEN_BYTES * bitmaps))
        header = solo.header(sender, mflags=0)
        solo.receive(sender.inbound, ModuleMessage(header, module_id, kind, body))
        solo.tick(100 if extras & 2 else 1500)
    parse(solo.state.nodes_conf_text())
    assert solo.is_alive()
    assert solo.state.current_epoch <= c.EPOCH_MAX


def letter(data: bytes) -> None:
    """A letter that is read is written as the same bytes, but for a text that was not printable."""
    if not data:
        return
    try:
        read = letters.decode(data[0] % (len(letters.Kind) + 1), data[1:])
    except ValueError:
        return
    written = letters.encode(read)
    assert letters.decode(read.kind, written) == read
    assert len(written) == len(data) - 1


def replies(data: bytes) -> None:
    """The reply of another node's client port: any bytes are a reply, no reply, or too few of them."""
    asyncio.run(_read(data))


async def _read(data: bytes) -> None:
    reader = asyncio.StreamReader(limit=LINE_LEN_MAX_BYTES)
    reader.feed_data(data)
    reader.feed_eof()
    replies = _Replies(reader)
    try:
        await replies.read()
    except PeerCommandError as error:
        assert str(error) or b"-\r\n" in data  # an error of the node's without words
    except asyncio.IncompleteReadError:
        assert len(data) <= REPLY_LEN_MAX_BYTES
