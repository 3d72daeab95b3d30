"""Numbers of the cluster bus protocol and the limits of this implementation, each by its name.

Owns the values that more than one module of the cluster layer needs. Holds no logic and no state; any thread
may read it. Message types and node flags are those of the wire (`protocol.md`).
"""

from __future__ import annotations

import re
from typing import Final

SLOTS: Final = 16_384
ALL_SLOTS: Final = (1 << SLOTS) - 1
"""The bitmap with every slot set; bit n of the integer is slot n."""
EMPTY_SLOTS: Final = bytes(SLOTS // 8)

NODE_ID_LEN: Final = 40
NODE_ID: Final = re.compile(r"[0-9a-z]{40}\Z")
BUS_PORT_OFFSET: Final = 10_000
PORT_MAX: Final = 65_535
EPOCH_MAX: Final = 2**64 - 1

# Message types.
PING: Final = 0
PONG: Final = 1
MEET: Final = 2
FAIL: Final = 3
PUBLISH: Final = 4
AUTH_REQUEST: Final = 5
AUTH_ACK: Final = 6
UPDATE: Final = 7
MFSTART: Final = 8
MODULE: Final = 9
PUBLISHSHARD: Final = 10
MESSAGE_NAMES: Final = (
    "ping", "pong", "meet", "fail", "publish", "auth-req", "auth-ack", "update", "mfstart", "module",
    "publishshard",
)  # fmt: skip
"""Names of the message types as CLUSTER INFO prints them, by number."""

# Node flags (`CLUSTER_NODE_*`).
FLAG_PRIMARY: Final = 1
FLAG_REPLICA: Final = 2
FLAG_PFAIL: Final = 4
FLAG_FAIL: Final = 8
FLAG_MYSELF: Final = 16
FLAG_HANDSHAKE: Final = 32
FLAG_NOADDR: Final = 64
FLAG_MEET: Final = 128
FLAG_MIGRATE_TO: Final = 256
FLAG_NOFAILOVER: Final = 512
FLAG_EXTENSIONS: Final = 1024
FLAG_LIGHT_PUBLISH: Final = 2048
FLAG_LIGHT_MODULE: Final = 4096
"""Newer servers read this bit also as "may be sent MEET again by a node it knows"."""
FAILING: Final = FLAG_PFAIL | FLAG_FAIL
GOSSIP_FLAGS_TAKEN: Final = FLAG_PRIMARY | FLAG_REPLICA | FLAG_FAIL | FLAG_NOFAILOVER
"""What is taken over from the flags of a node first heard of by gossip (H25 masks the rest)."""
GOSSIP_FLAGS_PRIVATE: Final = FLAG_MYSELF | FLAG_HANDSHAKE
"""Flags a node holds for itself alone: nobody may mention another with them (H25)."""

# Message flags, first byte.
MFLAG_PAUSED: Final = 1
MFLAG_FORCE_ACK: Final = 2
MFLAG_EXTENSIONS: Final = 4

# Extension types.
EXTENSION_HOSTNAME: Final = 0
EXTENSION_NODENAME: Final = 1
EXTENSION_FORGOTTEN_NODE: Final = 2
EXTENSION_SHARD_ID: Final = 3
EXTENSION_CLIENT_IPV4: Final = 4
EXTENSION_CLIENT_IPV6: Final = 5
EXTENSION_AVAILABILITY_ZONE: Final = 8

# Times. Multiples of the node timeout first.
FAIL_REPORT_VALIDITY: Final = 2
FAIL_UNDO: Final = 2
HANDSHAKE_TIMEOUT_MIN_MS: Final = 1_000
GOSSIP_FUTURE_MAX_MS: Final = 500
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
GOSSIP_MIN: Final = 3
GOSSIP_PARTS: Final = 10
"""One packet mentions this part of the known nodes: a tenth."""
GOSSIP_TRIES: Final = 3
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
