"""What the state refuses of peers: one table of the counters, with what each counts.

Owns their names, which INFO, CLUSTER INFO, the metrics and the documentation take from here. Must never decide
anything. A name that was released stays. Plain data, any thread.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import Final


@unique
class Refusal(Enum):
    """One thing that a peer should not have sent, or that came at the wrong time. `counter` is the name under which it
    is counted, `doc` says what the counter counts.
    """

    def __init__(self, word: str, doc: str) -> None:
        self.word: Final = word
        self.counter: Final = f"refused_{word}"
        self.doc: Final = doc

    # Whose packet it is.
    STRANGER = "stranger", "packets other than heartbeats of a sender that is not known; ignored"
    OWN_ID = "own_id", "packets under this node's own id; the link is closed"
    SENDER_CHANGED = "sender_changed", "packets under another id than that of the node whose link it is; link closed"
    DUPLICATE_ID = (
        "duplicate_id",
        "packets of a second link, or answers from elsewhere, under the id of a node that is well",
    )
    SENDER_ID = "sender_id", "handshakes with a sender id that is none"
    LIGHT_FIRST = "light_first", "light packets on a link whose node is not known; the link is closed"
    PROTOCOL = "protocol", "dialled links whose other end does not speak this bus; dialled more rarely"
    UNANSWERED = "unanswered", "nodes that ended many links in a row without an answer"
    ADDRESS_FLAPPING = "address_flapping", "new addresses of a node that has changed its address only just now"

    # Who may come in.
    MEET_ADDRESS = "meet_address", "MEET without an address that could be dialled"
    MEET_ON_OUR_LINK = "meet_on_our_link", "MEET on a link that this node dialled; the link is closed"
    FORGOTTEN_MEET = "forgotten_meet", "MEET of a node that was forgotten a short time ago"
    HANDSHAKE_CAP = "handshake_cap", "handshakes beyond those that may be under way at once"
    HANDSHAKE_EXPIRED = "handshake_expired", "handshakes, and nodes on trial, that did not prove themselves in time"
    LINK_CAP = "link_cap", "inbound links of nobody known beyond those that may be up at once; closed"
    NODE_CAP = "node_cap", "nodes told by gossip for which there is no room"

    NOT_ALLOWED_ADDRESS = "not_allowed_address", "links and nodes at an address outside cluster-allow-networks"
    NOT_ALLOWED_ID = "not_allowed_id", "nodes whose id is not among cluster-allow-node-ids"
    NOT_ALLOWED_CERTIFICATE = (
        "not_allowed_certificate",
        "links whose peer's certificate has none of cluster-allow-certificate-names",
    )
    PIN = "pin", "links that claim a node with another certificate than the one pinned to it; closed"
    LABEL = "label", "packets of nodes with another cluster-label, and UPDATEs about such nodes"

    # What a packet says.
    FIELDS = "fields", "packets with fields that are refused; the rest of each counts"
    UNKNOWN_TYPE = "unknown_type", "messages of a type that is not known; their header counts"
    GOSSIP_FLAGS = "gossip_flags", "gossip with the flags of oneself or of a handshake; the entry counts, they do not"
    FAIL_SUBJECT = "fail_subject", "FAIL about this node or about nobody known"
    UPDATE_SUBJECT = "update_subject", "UPDATE about this node, or about nobody known or heard yet"
    FORGOTTEN_NODE = "forgotten_node", "wishes to forget the sender, this node, its primary or a handshake"
    SHARD_ID = "shard_id", "replicas that name another shard than that of their primary"
    TAGS = "tags", "messages about tags that make no sense"
    OBSERVER = "observer", "messages about observing that make no sense"
    LEAVE_WORD = "leave_word", "messages about leaving that make no sense"
    SHARD_ORDER = "shard_order", "orders of a primary that make no sense, or that are for its replicas"
    TAKE_OVER = "take_over", "wishes of a primary that this replica takes over, which it cannot"

    # Epochs, roles and votes.
    EPOCH_JUMP = "epoch_jump", "epochs that no honest member can have come to"
    EPOCH_EXHAUSTED = (
        "epoch_exhausted",
        "elections and new config epochs given up, because the greatest epoch is reached",
    )
    STALE_ROLE = "stale_role", "heartbeats of a node whose role is older than the one that is known"
    VOTE_REQUEST = "vote_request", "requests of a replica for a vote, denied"
    VOTE = "vote", "votes that count for nothing: too late, of another epoch, or of who has none"
    MFSTART = "mfstart", "manual failovers asked for by who is no replica of this node"
    LETTER = "letter", "messages about taking slots that make no sense"
    CLAIM_VOTE_REQUEST = "claim_vote_request", "requests for a vote to take slots, denied"
    CLAIM_VOTE = "claim_vote", "votes to take slots that count for nothing"
    SLOT_GIFT = "slot_gift", "slots of a member that leaves, not taken"
    SLOT_GIFT_ANSWER = "slot_gift_answer", "answers about slots that were not given, or not to that member"


FIELD_PREFIX: Final = "refused_field_"
REFUSED_FIELDS: Final = {
    "myip": "announced addresses that are none",
    "gossip.node_id": "gossip entries whose id is none; left out",
    "gossip.ip": "gossip entries whose address is none; left out",
    "extensions": "extensions whose number contradicts the flag; all left out",
    "extensions.hostname": "hostnames that are none",
    "extensions.human_nodename": "names for people that would break a line of a file or a log",
    "extensions.forgotten_node": "ids of nodes to forget that are none",
    "extensions.shard_id": "ids of shards that are none",
    "extensions.client_ipv4": "IPv4 addresses for clients that are none",
    "extensions.client_ipv6": "IPv6 addresses for clients that are none",
    "extensions.client_port": "ports for clients that are none",
    "extensions.client_tls_port": "TLS ports for clients that are none",
    "extensions.availability_zone": "availability zones that would break a line of a file or a log",
}
"""The fields that the wire layer refuses, without their index, and what is counted under FIELD_PREFIX and the name."""
