"""Numbers of the cluster bus protocol and the limits of this implementation, each by its name.

Owns the values that more than one module of the cluster layer needs. Holds no logic and no state; any thread
may read it. Message types and node flags are those of the wire (`protocol.md`).
"""

from __future__ import annotations

import re
from typing import Final

from clusterbus import _core, wire

SLOTS: Final = _core.SLOTS
ALL_SLOTS: Final = (1 << SLOTS) - 1
"""The bitmap with every slot set; bit n of the integer is slot n."""
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
"""Newer servers read this bit also as "may be sent MEET again by a node it knows"."""
FAILING: Final = FLAG_PFAIL | FLAG_FAIL
GOSSIP_FLAGS_TAKEN: Final = FLAG_PRIMARY | FLAG_REPLICA | FLAG_FAIL | FLAG_NOFAILOVER
"""What is taken over from the flags of a node first heard of by gossip (H25 masks the rest)."""
GOSSIP_FLAGS_PRIVATE: Final = FLAG_MYSELF | FLAG_HANDSHAKE
"""Flags a node holds for itself alone: nobody may mention another with them (H25)."""

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
EXTENSION_AVAILABILITY_ZONE: Final = _core.EXTENSION_AVAILABILITY_ZONE

# Times. Multiples of the node timeout first.
FAIL_REPORT_VALIDITY: Final = 2
FAIL_UNDO: Final = 2
HANDSHAKE_TIMEOUT_MIN_MS: Final = 1_000
GOSSIP_FUTURE_MAX_MS: Final = _core.GOSSIP_FUTURE_MAX_MS
FORGET_TTL_MS: Final = 60_000
"""How long a forgotten node stays out; also the cap on the ttl a peer may ask for (H19)."""
REJOIN_DELAY_MIN_MS: Final = 500
REJOIN_DELAY_MAX_MS: Final = 5_000
WRITABLE_DELAY_MS: Final = 2_000
TICKS_PER_RANDOM_PING: Final = 10
RANDOM_PING_CANDIDATES: Final = 5
REDIAL_FIRST_MS: Final = 100
REDIAL_ALIVE_PARTS: Final = 8
"""A node not held failing is dialled again at least this often within the node timeout."""
REDIAL_FAILING_PARTS: Final = 2
"""The same for a node held failing."""
MEET_AGAIN_MS: Final = 60_000
"""For so long after an operator's MEET it is repeated while the peer has not dialled us; not longer than a
FORGET lasts, so that a node forgotten on purpose does not come back by it."""
INBOUND_IDLE_MIN_MS: Final = 20_000
"""Longer than the runtime waits for a link's first packet, so that a slow opener is named as one (H31)."""
INBOUND_IDLE: Final = 4
"""An inbound link silent for so many node timeouts (and the minimum above) is closed (H32)."""
LOG_INTERVAL_MS: Final = 10_000
"""Why an election does not go on is told again after this time."""

# Elections (S5). Multiples of the node timeout first, then multiples of the election's own delay.
VOTE_DISTANCE: Final = 2
"""Between two votes for replicas of one primary."""
ELECTION_TIMEOUT: Final = 2
ELECTION_TIMEOUT_MIN_MS: Final = 2_000
ELECTION_RETRY: Final = 2
"""An election is tried again after so many of its timeouts."""
ELECTION_DELAY_PARTS: Final = 30
ELECTION_DELAY_MAX_MS: Final = 500
"""An election waits this part of the node timeout, at most so long, and up to as much again by chance."""
ELECTION_DELAYS_PER_RANK: Final = 2
DATA_AGE_ALLOWANCE_MS: Final = 10_000
"""Age of a replica's data that is never too old: the period in which primaries ping their replicas."""
MANUAL_FAILOVER_PAUSE: Final = 2
"""Writes are paused for so many timeouts of the manual failover, at most."""
MIGRATION_DELAY_MS: Final = 5_000
"""A primary must have been without a replica for so long before one of another primary moves to it."""

# Gossip section.
GOSSIP_MIN: Final = _core.GOSSIP_MIN
GOSSIP_PARTS: Final = _core.GOSSIP_PARTS
"""One packet mentions this part of the known nodes: a tenth."""
GOSSIP_TRIES: Final = _core.GOSSIP_TRIES
GOSSIP_ENTRIES_MAX: Final = 65_534

# Caps (H30).
NODES_MAX: Final = 10_000
HANDSHAKES_MAX: Final = 256
PROVISIONAL_MAX: Final = 2_048
"""Nodes known only from the gossip of a stranger's MEET, none of which has answered yet."""
FORGOTTEN_MAX: Final = 4_096
FORGOTTEN_PER_HEARTBEAT_MAX: Final = 256
DIALS_PER_TICK_MAX: Final = 256
UNBOUND_LINKS_MAX: Final = 1_024
EPOCH_JUMP_SUSPECT: Final = 2**32
"""A current epoch that runs ahead of ours by more than this is counted and logged (H28)."""
