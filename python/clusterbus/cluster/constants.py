"""The numbers of the cluster bus protocol, and the limits of this implementation.

Owns the values that more than one module of the cluster layer needs. Must never hold logic or state. Any thread may
read it. Message types and flags are the wire's; the core defines them.
"""

from __future__ import annotations

import re
from typing import Final

from clusterbus import _core, wire

SLOTS: Final = _core.SLOTS
ALL_SLOTS: Final = (1 << SLOTS) - 1
"""The bitmap of all slots: bit n of the integer is slot n."""
EMPTY_SLOTS: Final = bytes(_core.SLOT_BITMAP_LEN_BYTES)

NODE_ID_LEN: Final = _core.NODE_ID_LEN
NODE_ID: Final = re.compile(rf"[0-9a-z]{{{NODE_ID_LEN}}}\Z")
BUS_PORT_OFFSET: Final = _core.BUS_PORT_OFFSET
PORT_MAX: Final = wire.PORT_MAX
EPOCH_MAX: Final = 2**64 - 1

# Message types.
PING: Final = _core.TYPE_PING
PONG: Final = _core.TYPE_PONG
MEET: Final = _core.TYPE_MEET
FAIL: Final = _core.TYPE_FAIL
PUBLISH: Final = _core.TYPE_PUBLISH
AUTH_REQUEST: Final = _core.TYPE_FAILOVER_AUTH_REQUEST
AUTH_ACK: Final = _core.TYPE_FAILOVER_AUTH_ACK
UPDATE: Final = _core.TYPE_UPDATE
MFSTART: Final = _core.TYPE_MFSTART
MODULE: Final = _core.TYPE_MODULE
PUBLISHSHARD: Final = _core.TYPE_PUBLISHSHARD
MESSAGE_NAMES: Final = _core.MESSAGE_NAMES
"""Names of the message types as CLUSTER INFO prints them, by number."""

# Node flags (`CLUSTER_NODE_*`).
FLAG_PRIMARY: Final = _core.FLAG_PRIMARY
FLAG_REPLICA: Final = _core.FLAG_REPLICA
FLAG_PFAIL: Final = _core.FLAG_PFAIL
FLAG_FAIL: Final = _core.FLAG_FAIL
FLAG_MYSELF: Final = _core.FLAG_MYSELF
FLAG_HANDSHAKE: Final = _core.FLAG_HANDSHAKE
FLAG_NOADDR: Final = _core.FLAG_NOADDR
FLAG_MEET: Final = _core.FLAG_MEET
FLAG_MIGRATE_TO: Final = _core.FLAG_MIGRATE_TO
FLAG_NOFAILOVER: Final = _core.FLAG_NOFAILOVER
FLAG_EXTENSIONS: Final = _core.FLAG_EXTENSIONS
FLAG_LIGHT_PUBLISH: Final = _core.FLAG_LIGHT_PUBLISH
FLAG_LIGHT_MODULE: Final = _core.FLAG_LIGHT_MODULE
"""Newer servers read this bit also as: this node accepts MEET from a node that it already knows."""
FLAG_MY_PRIMARY_FAIL: Final = _core.FLAG_MY_PRIMARY_FAIL
FAILING: Final = FLAG_PFAIL | FLAG_FAIL
"""PFAIL or FAIL."""
GOSSIP_FLAGS_TAKEN: Final = FLAG_PRIMARY | FLAG_REPLICA | FLAG_FAIL | FLAG_NOFAILOVER
"""The flags that a node gets from the gossip that introduces it (H25 masks the rest)."""
GOSSIP_FLAGS_PRIVATE: Final = FLAG_MYSELF | FLAG_HANDSHAKE
"""Flags that mean something only inside the process that holds them: gossip must not mention a node with them (H25)."""

# Message flags, first byte.
MFLAG_PAUSED: Final = _core.MFLAG_PAUSED
MFLAG_FORCE_ACK: Final = _core.MFLAG_FORCE_ACK
MFLAG_EXTENSIONS: Final = _core.MFLAG_EXTENSIONS

# Extension types.
EXTENSION_HOSTNAME: Final = _core.EXTENSION_HOSTNAME
EXTENSION_NODENAME: Final = _core.EXTENSION_HUMAN_NODENAME
EXTENSION_FORGOTTEN_NODE: Final = _core.EXTENSION_FORGOTTEN_NODE
EXTENSION_SHARD_ID: Final = _core.EXTENSION_SHARD_ID
EXTENSION_CLIENT_IPV4: Final = _core.EXTENSION_CLIENT_IPV4
EXTENSION_CLIENT_IPV6: Final = _core.EXTENSION_CLIENT_IPV6
EXTENSION_CLIENT_PORT: Final = _core.EXTENSION_CLIENT_PORT
EXTENSION_CLIENT_TLS_PORT: Final = _core.EXTENSION_CLIENT_TLS_PORT
EXTENSION_AVAILABILITY_ZONE: Final = _core.EXTENSION_AVAILABILITY_ZONE
EXTENSION_CLUSTER_LABEL: Final = 0xCB01
"""Of clusterbus nodes alone (`labels`): far from the numbers that the servers give out one after another."""

# Times. Those about FAIL are multiples of the node timeout.
FAIL_REPORT_VALIDITY: Final = 2
FAIL_UNDO: Final = 2
HANDSHAKE_TIMEOUT_MIN_MS: Final = 1_000
GOSSIP_FUTURE_MAX_MS: Final = _core.GOSSIP_FUTURE_MAX_MS
FORGET_TTL_MS: Final = 60_000
"""For how long FORGET keeps a node out, unless `cluster-blacklist-ttl` says otherwise."""
FORGET_TTL_MAX_MS: Final = 7 * 24 * 3_600_000
"""The longest time for which a peer may have us keep out a node (H19, P9). Our own operator may set a longer one."""
FORGET_TTL_EXACT_S: Final = 120
"""A longer ttl of a forgotten node is told in whole minutes."""
REJOIN_DELAY_MIN_MS: Final = 500
REJOIN_DELAY_MAX_MS: Final = 5_000
WRITABLE_DELAY_MS: Final = 2_000
TICKS_PER_RANDOM_PING: Final = 10
RANDOM_PING_CANDIDATES: Final = 5
REDIAL_FIRST_MS: Final = 100
REDIAL_ALIVE_PARTS: Final = 8
"""The longest wait before a redial is the node timeout divided by this, unless the node is flagged PFAIL or FAIL."""
REDIAL_FAILING_PARTS: Final = 2
"""The same for a node that is flagged PFAIL or FAIL."""
FOREIGN_LOSSES: Final = frozenset({"bad-signature", "bad-length", "tls-on-plain", "not-tls"})
"""The words for the end of a link on which came what is no message of this bus (`LinkLost.kind`)."""
REDIAL_FOREIGN_MAX_MS: Final = 60_000
"""The longest wait before an address is dialled again where such a peer answered (P32)."""
UNANSWERED_LINKS_TOLD: Final = 5
"""After this many links in a row that a node has ended without an answer, that is logged and counted; and again after
as many more."""
READ_TIME_SLACK_MS: Final = 50
"""The time of a read may seem to be later than it was, by less than this: ages of reads are whole milliseconds of
another clock. Two heartbeats that a node sends of its own accord are further apart."""
MEETS_AGAIN_MAX: Final = 7
"""So often at most do we send MEET again to a node that does not know us (P40)."""
MEET_AGAIN_GROWTH: Final = 3
"""The first MEET goes out again after a handshake timeout, and each further one after this many times as long."""
MEET_AGAIN_MS: Final = FORGET_TTL_MS
"""A node that has dialled us once may know us, and may have been told to forget us: it gets MEET again only for this
long after we learnt of it, and for no longer than `cluster-blacklist-ttl`. So our MEETs never bring back a node that
was forgotten on purpose."""
INBOUND_IDLE_MARGIN_MS: Final = 5_000
"""So much longer than the engine waits for a link's first packet must an inbound link be silent to be idle. So one that
never sends any is closed and counted under H31, not as an idle one."""
INBOUND_IDLE: Final = 4
"""An inbound link is closed after this many node timeouts of silence (H32)."""
LOG_INTERVAL_MS: Final = 10_000
"""The reason why an election is blocked is logged again after this time."""

# Elections (S5).
ELECTION_TIMEOUT: Final = 2
"""Votes count for this many node timeouts, and at least ELECTION_TIMEOUT_MIN_MS."""
ELECTION_TIMEOUT_MIN_MS: Final = 2_000
ELECTION_RETRY: Final = 2
"""A new election may begin this many election timeouts after the one before."""
ELECTION_DELAY_PARTS: Final = 30
ELECTION_DELAY_MAX_MS: Final = 500
"""An election waits for the node timeout divided by ELECTION_DELAY_PARTS, at most this long, plus a random time that is
at most as long again."""
ELECTION_DELAYS_PER_RANK: Final = 2
"""It also waits this many such delays for each replica of the same primary that goes first."""
DATA_AGE_ALLOWANCE_MS: Final = 10_000
"""Data of this age is never too old for an election. It is the period in which primaries ping their replicas."""
MANUAL_FAILOVER_PAUSE: Final = 2
"""Writes are paused for at most this many timeouts of the manual failover."""
HANDOVER_ANSWER_MS: Final = 2_000
"""A replica that was asked to take over must have begun to after this time. Servers of another kind never do."""
SHARD_ORDERS_MODULE_ID: Final = int.from_bytes(b"cb-shard", "little")
"""The module id of the MODULE messages by which a primary of ours passes orders on to its replicas."""
LEAVE_MODULE_ID: Final = int.from_bytes(b"cb-leave", "little")
"""That of the messages by which a node leaves the cluster."""
TAGS_MODULE_ID: Final = int.from_bytes(b"cb-tags.", "little")
"""The module id of the MODULE messages that spread tags; by them clusterbus nodes know each other too."""
SLOT_CLAIMS_MODULE_ID: Final = int.from_bytes(b"cb-slots", "little")
"""The module id of the MODULE messages by which nodes of ours vote on who takes slots, and keep leases (`claims`)."""
OBSERVER_MODULE_ID: Final = int.from_bytes(b"cb-watch", "little")
"""That of the message by which an observer says what it is."""
OWN_MODULE_IDS: Final = frozenset(
    (SHARD_ORDERS_MODULE_ID, TAGS_MODULE_ID, SLOT_CLAIMS_MODULE_ID, LEAVE_MODULE_ID, OBSERVER_MODULE_ID)
)
"""The module ids that clusterbus nodes use among themselves, which no program may."""
LEAVE_OTHERS_MAX: Final = 1_024
"""The most nodes to which a leaver may have itself mentioned by one that has forgotten it."""
MIGRATION_DELAY_MS: Final = 5_000
"""A primary must have been without a working replica for this long before a replica of another primary moves to it."""

EMPTY_SHARD_OFFSET: Final = 1
"""The replication offset of all nodes of a shard that its operator declared to hold no data. Not 0, because clients
are not shown replicas whose offset is 0."""

# Slots that are taken by votes and held by leases (`claims`).
LEASE_RENEWALS: Final = 4
"""A holder of slots renews its lease this many times in a node timeout."""
LEASE_HELD_PARTS: Final = 8
"""A holder counts on a promise for this many parts less one of its length, from the moment at which it asked. The rest
is for clocks that go at another pace than the voter's."""
RENEWALS_OPEN_MAX: Final = 8
"""Answers to so many of the last renewals still count."""
KIN_ANSWER_MS: Final = 1_000
"""A node that has answered a later PING, but for this long and a node timeout not our letter, is a server of another
kind."""
CLAIM_ROUND_MIN_MS: Final = 200
CLAIM_ROUND_MAX_MS: Final = 2_000
"""A round of votes lasts a quarter of the node timeout, within these bounds."""
CLAIM_PAUSE_MIN_MS: Final = 50
CLAIM_PAUSE_MAX_MS: Final = 500
"""The next round begins after an eighth of the node timeout, within these bounds; half of it by chance."""
CLAIMS_WAITING_MAX: Final = 64
"""The most orders to take slots, and the most to give some away, that wait at a time."""
GIFT_MAX_MS: Final = 60_000
"""A node that is given slots by another one tries to take them for at most this long."""
CLAIM_REASON_LEN_MAX: Final = 200
"""The most characters of a reason that a peer may have us repeat."""

# Gossip section.
GOSSIP_MIN: Final = _core.GOSSIP_MIN
GOSSIP_PERCENT: Final = _core.GOSSIP_PERCENT
"""A heartbeat mentions one of this many known nodes: a tenth."""
GOSSIP_TRIES: Final = _core.GOSSIP_TRIES
GOSSIP_ENTRIES_MAX: Final = _core.GOSSIP_ENTRIES_MAX

# Caps (H30).
UPDATES_KEPT_MAX: Final = 256
"""The most UPDATEs, one for each owner, that are kept to be sent again while nothing changes."""
FORGOTTEN_MAX: Final = 4_096
FORGOTTEN_PER_HEARTBEAT_MAX: Final = 256
DIALS_PER_TICK_MAX: Final = 256

# Epochs (H28).
EPOCH_JUMP_INTERVAL_MS: Final = 1_000
"""The greatest known epoch, from which `cluster-epoch-jump-max` counts, is measured at most once in this time."""
EPOCH_TOLD_MAX: Final = 2**63 + 2**32
"""No majority makes us jump to an epoch over this: SET-CONFIG-EPOCH goes up to 2^63 - 1, and the rest is climbed."""
EPOCH_CLAIM_TIMEOUTS: Final = 2
"""A claim of an epoch that we do not believe counts for this many node timeouts, and at least EPOCH_CLAIM_MIN_MS."""
EPOCH_CLAIM_MIN_MS: Final = 3_000


def message_name(kind: int) -> str:
    """The name of a message type."""
    return MESSAGE_NAMES[kind] if kind < len(MESSAGE_NAMES) else f"type-{kind}"
