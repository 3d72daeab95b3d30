"""Types of the Rust core, and what its methods do. stubtest checks them against the built module."""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, final

from typing_extensions import Buffer

__all__ = [
    "BUS_PORT_OFFSET",
    "EXTENSION_AVAILABILITY_ZONE",
    "EXTENSION_CLIENT_IPV4",
    "EXTENSION_CLIENT_IPV6",
    "EXTENSION_CLIENT_PORT",
    "EXTENSION_CLIENT_TLS_PORT",
    "EXTENSION_FORGOTTEN_NODE",
    "EXTENSION_HOSTNAME",
    "EXTENSION_HUMAN_NODENAME",
    "EXTENSION_SHARD_ID",
    "FIRST_PACKET_TIMEOUT_MS",
    "FLAG_EXTENSIONS",
    "FLAG_FAIL",
    "FLAG_HANDSHAKE",
    "FLAG_LIGHT_MODULE",
    "FLAG_LIGHT_PUBLISH",
    "FLAG_MEET",
    "FLAG_MIGRATE_TO",
    "FLAG_MYSELF",
    "FLAG_MY_PRIMARY_FAIL",
    "FLAG_NOADDR",
    "FLAG_NOFAILOVER",
    "FLAG_PFAIL",
    "FLAG_PRIMARY",
    "FLAG_REPLICA",
    "GOSSIP_ENTRIES_MAX",
    "GOSSIP_ENTRY_LEN_BYTES",
    "GOSSIP_FUTURE_MAX_MS",
    "GOSSIP_MIN",
    "GOSSIP_PERCENT",
    "GOSSIP_TRIES",
    "HEADER_LEN_BYTES",
    "IO_THREADS_MAX",
    "LIGHT_HEADER_LEN_BYTES",
    "LIGHT_TYPE_BIT",
    "LINKS_MAX",
    "LOSS_REASONS",
    "MAX_PACKET_LEN_BYTES",
    "MAX_TEXT_LEN_BYTES",
    "MESSAGE_NAMES",
    "MFLAG_EXTENSIONS",
    "MFLAG_FORCE_ACK",
    "MFLAG_PAUSED",
    "NODE_ID_LEN",
    "PACKET_ERRORS",
    "PROTOCOL_VERSION",
    "REFUSAL_REASONS",
    "SLOTS",
    "SLOT_BITMAP_LEN_BYTES",
    "TLS_HANDSHAKES_MAX",
    "TLS_HANDSHAKE_TIMEOUT_MS",
    "TYPE_FAIL",
    "TYPE_FAILOVER_AUTH_ACK",
    "TYPE_FAILOVER_AUTH_REQUEST",
    "TYPE_MEET",
    "TYPE_MFSTART",
    "TYPE_MODULE",
    "TYPE_PING",
    "TYPE_PONG",
    "TYPE_PUBLISH",
    "TYPE_PUBLISHSHARD",
    "TYPE_UPDATE",
    "AcceptRefused",
    "Engine",
    "ExpectedHeartbeat",
    "Extension",
    "Fail",
    "GossipEntry",
    "Header",
    "HeaderOnly",
    "Heartbeat",
    "LinkAccepted",
    "LinkConnected",
    "LinkDrained",
    "LinkLost",
    "ModuleMessage",
    "NodeRow",
    "NodeTimes",
    "Packet",
    "PacketsReceived",
    "Publish",
    "QuietHeartbeats",
    "TlsConfig",
    "Unknown",
    "Update",
    "Verdict",
    "Version",
    "View",
    "__version__",
    "decode",
    "decrypt_key",
    "encode",
    "key_slot",
    "parse",
]

__version__: Final[str]

# ---------------------------------------------------------------- numbers and names

# Message types.
TYPE_PING: Final[int]
TYPE_PONG: Final[int]
TYPE_MEET: Final[int]
TYPE_FAIL: Final[int]
TYPE_PUBLISH: Final[int]
TYPE_FAILOVER_AUTH_REQUEST: Final[int]
TYPE_FAILOVER_AUTH_ACK: Final[int]
TYPE_UPDATE: Final[int]
TYPE_MFSTART: Final[int]
TYPE_MODULE: Final[int]
TYPE_PUBLISHSHARD: Final[int]
LIGHT_TYPE_BIT: Final[int]
# Node flags, then message flags (the first byte of `mflags`).
FLAG_PRIMARY: Final[int]
FLAG_REPLICA: Final[int]
FLAG_PFAIL: Final[int]
FLAG_FAIL: Final[int]
FLAG_MYSELF: Final[int]
FLAG_HANDSHAKE: Final[int]
FLAG_NOADDR: Final[int]
FLAG_MEET: Final[int]
FLAG_MIGRATE_TO: Final[int]
FLAG_NOFAILOVER: Final[int]
FLAG_EXTENSIONS: Final[int]
FLAG_LIGHT_PUBLISH: Final[int]
FLAG_LIGHT_MODULE: Final[int]
FLAG_MY_PRIMARY_FAIL: Final[int]
MFLAG_PAUSED: Final[int]
MFLAG_FORCE_ACK: Final[int]
MFLAG_EXTENSIONS: Final[int]
# Extension types.
EXTENSION_HOSTNAME: Final[int]
EXTENSION_HUMAN_NODENAME: Final[int]
EXTENSION_FORGOTTEN_NODE: Final[int]
EXTENSION_SHARD_ID: Final[int]
EXTENSION_CLIENT_IPV4: Final[int]
EXTENSION_CLIENT_IPV6: Final[int]
EXTENSION_CLIENT_PORT: Final[int]
EXTENSION_CLIENT_TLS_PORT: Final[int]
EXTENSION_AVAILABILITY_ZONE: Final[int]
# Sizes.
PROTOCOL_VERSION: Final[int]
SLOTS: Final[int]
BUS_PORT_OFFSET: Final[int]
NODE_ID_LEN: Final[int]
SLOT_BITMAP_LEN_BYTES: Final[int]
HEADER_LEN_BYTES: Final[int]
LIGHT_HEADER_LEN_BYTES: Final[int]
GOSSIP_ENTRY_LEN_BYTES: Final[int]
MAX_PACKET_LEN_BYTES: Final[int]
MAX_TEXT_LEN_BYTES: Final[int]
# A gossip section mentions GOSSIP_PERCENT of the nodes, but at least GOSSIP_MIN. It draws at most GOSSIP_TRIES times as
# often as it has nodes to find.
GOSSIP_MIN: Final[int]
GOSSIP_PERCENT: Final[int]
GOSSIP_TRIES: Final[int]
GOSSIP_ENTRIES_MAX: Final[int]
GOSSIP_FUTURE_MAX_MS: Final[int]
# Defaults of the arguments of `Engine`, and the most I/O threads that it takes.
TLS_HANDSHAKE_TIMEOUT_MS: Final[int]
FIRST_PACKET_TIMEOUT_MS: Final[int]
LINKS_MAX: Final[int]
TLS_HANDSHAKES_MAX: Final[int]
IO_THREADS_MAX: Final[int]
MESSAGE_NAMES: Final[tuple[str, ...]]
"""Names of the message types in logs and counters, indexed by type."""
PACKET_ERRORS: Final[tuple[str, ...]]
"""Why a packet is dropped: names of counters."""
LOSS_REASONS: Final[tuple[str, ...]]
"""Every value of `LinkLost.kind`."""
REFUSAL_REASONS: Final[tuple[str, ...]]
"""Every value of `AcceptRefused.kind`, and `no-descriptors`, which only occurs in counters."""

_EndReason: TypeAlias = Literal[
    "eof",
    "error",
    "bad-signature",
    "bad-length",
    "tls-on-plain",
    "not-tls",
    "no-certificate",
    "bad-certificate",
    "tls-alert",
    "tls",
    "handshake-timeout",
    "anonymous-bytes",
    "panic",
]
_LossReason: TypeAlias = Literal[_EndReason, "bad-packets", "connect", "first-packet-timeout", "sendbuf-limit"]
_RefusalReason: TypeAlias = Literal[_EndReason, "max-links", "max-handshakes", "no-descriptors"]

# ---------------------------------------------------------------- wire

@final
class Header:
    """The 2,256-byte message header (`clusterMsg`); fields have Valkey's names in snake case.

    Shapes: ids are 40 lower-case hex characters; `myslots` is 2,048 bytes (None means no slots); `myip` is an IPv4 or
    IPv6 address ("" means the address of the socket); `mflags` is its three bytes as one number, the first byte lowest.
    Raises ConfigError, which names the wrong field. Like every class of the wire it is immutable, and compared and
    hashed by value.
    """

    def __new__(
        cls,
        *,
        sender: str,
        port: int = 0,
        pport: int = 0,
        cport: int = 0,
        current_epoch: int = 0,
        config_epoch: int = 0,
        offset: int = 0,
        myslots: bytes | None = None,
        replicaof: str | None = None,
        myip: str = "",
        flags: int = 0,
        state: int = 0,
        mflags: int = 0,
    ) -> Header: ...
    @property
    def sender(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def pport(self) -> int: ...
    @property
    def cport(self) -> int: ...
    @property
    def current_epoch(self) -> int: ...
    @property
    def config_epoch(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def myslots(self) -> bytes: ...
    @property
    def replicaof(self) -> str | None: ...
    @property
    def myip(self) -> str: ...
    @property
    def flags(self) -> int: ...
    @property
    def state(self) -> int: ...
    @property
    def mflags(self) -> int: ...

@final
class GossipEntry:
    """What a heartbeat says about a third node. `ping_sent_s` and `pong_received_s` are unix seconds.

    Raises ConfigError, which names the wrong field.
    """

    def __new__(
        cls,
        *,
        node_id: str,
        ping_sent_s: int = 0,
        pong_received_s: int = 0,
        ip: str = "",
        port: int = 0,
        cport: int = 0,
        flags: int = 0,
        pport: int = 0,
    ) -> GossipEntry: ...
    @property
    def node_id(self) -> str: ...
    @property
    def ping_sent_s(self) -> int: ...
    @property
    def pong_received_s(self) -> int: ...
    @property
    def ip(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def cport(self) -> int: ...
    @property
    def flags(self) -> int: ...
    @property
    def pport(self) -> int: ...

@final
class Extension:
    """One heartbeat extension: `type` is the number on the wire, `data` its bytes, padding included.

    Raises ConfigError if the data does not fit the type. Any data is a multiple of 8 bytes, at most 65,528. Texts end
    with a NUL; hostnames consist of letters, digits and `-._`; other texts are printable, without space, comma, `=`,
    quotes and backslash. Ids are 40 lower-case hex characters. An unknown type may hold any data.
    """

    def __new__(cls, type: int, data: bytes) -> Extension: ...
    @property
    def type(self) -> int: ...
    @property
    def data(self) -> bytes: ...
    @property
    def text(self) -> str | None:
        """The text of a text extension (hostname, human nodename, client IPs, zone); None for other types."""
    @property
    def forgotten_node(self) -> tuple[str, int] | None:
        """(node id, ttl in seconds) of a forgotten-node extension; None for other types."""
    @property
    def shard_id(self) -> str | None:
        """The id of a shard-id extension; None for other types."""
    @property
    def port(self) -> int | None:
        """The port of a client-port or client-TLS-port extension; None for other types."""
    @staticmethod
    def hostname_of(hostname: str) -> Extension: ...
    @staticmethod
    def nodename_of(nodename: str) -> Extension: ...
    @staticmethod
    def forgotten_node_of(node_id: str, ttl_s: int) -> Extension: ...
    @staticmethod
    def shard_id_of(shard_id: str) -> Extension: ...
    @staticmethod
    def client_ipv4_of(ip: str) -> Extension: ...
    @staticmethod
    def client_ipv6_of(ip: str) -> Extension: ...
    @staticmethod
    def client_port_of(port: int) -> Extension: ...
    @staticmethod
    def client_tls_port_of(port: int) -> Extension: ...
    @staticmethod
    def availability_zone_of(zone: str) -> Extension: ...

@final
class Heartbeat:
    """PING, PONG or MEET (`type` 0, 1, 2).

    If there are extensions, the header's mflags gain the flag EXT_DATA (4). Valkey also sets the flag without
    extensions, to tell a peer that it understands them; so a header that has the flag keeps it.
    """

    def __new__(
        cls,
        type: int,
        header: Header,
        gossip: Sequence[GossipEntry] = (),
        extensions: Sequence[Extension] = (),
    ) -> Heartbeat: ...
    @property
    def type(self) -> int: ...
    @property
    def header(self) -> Header: ...
    @property
    def gossip(self) -> list[GossipEntry]: ...
    @property
    def extensions(self) -> list[Extension]: ...

@final
class Fail:
    """FAIL: the sender says that the majority agrees that `node_id` has failed."""

    def __new__(cls, header: Header, node_id: str) -> Fail: ...
    @property
    def type(self) -> int: ...
    @property
    def header(self) -> Header: ...
    @property
    def node_id(self) -> str: ...

@final
class Publish:
    """PUBLISH or PUBLISHSHARD. `header=None` means the light header."""

    def __new__(cls, header: Header | None, channel: bytes, message: bytes, sharded: bool = False) -> Publish: ...
    @property
    def type(self) -> int: ...
    @property
    def header(self) -> Header | None: ...
    @property
    def channel(self) -> bytes: ...
    @property
    def message(self) -> bytes: ...
    @property
    def sharded(self) -> bool: ...

@final
class Update:
    """UPDATE: the slots of the node `node_id`, and its config epoch, which is newer than the receiver's claim."""

    def __new__(cls, header: Header, config_epoch: int, node_id: str, slots: bytes) -> Update: ...
    @property
    def type(self) -> int: ...
    @property
    def header(self) -> Header: ...
    @property
    def config_epoch(self) -> int: ...
    @property
    def node_id(self) -> str: ...
    @property
    def slots(self) -> bytes: ...

@final
class ModuleMessage:
    """MODULE. `header=None` means the light header."""

    def __new__(cls, header: Header | None, module_id: int, module_type: int, data: bytes) -> ModuleMessage: ...
    @property
    def type(self) -> int: ...
    @property
    def header(self) -> Header | None: ...
    @property
    def module_id(self) -> int: ...
    @property
    def module_type(self) -> int: ...
    @property
    def data(self) -> bytes: ...

@final
class HeaderOnly:
    """FAILOVER_AUTH_REQUEST, FAILOVER_AUTH_ACK or MFSTART (`type` 5, 6, 8)."""

    def __new__(cls, type: int, header: Header) -> HeaderOnly: ...
    @property
    def type(self) -> int: ...
    @property
    def header(self) -> Header: ...

@final
class Unknown:
    """A message of an unknown type; `data` is everything after the header."""

    def __new__(cls, type: int, header: Header, data: bytes) -> Unknown: ...
    @property
    def type(self) -> int: ...
    @property
    def header(self) -> Header: ...
    @property
    def data(self) -> bytes: ...

@final
class Packet:
    """One whole message as it was received. Immutable, decoded on demand, shares its buffer with Rust.

    A light packet has no full header: its header properties are the defaults of `Header`, and its sender is "".
    """

    def __bytes__(self) -> bytes: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    @property
    def type(self) -> int: ...
    @property
    def is_light(self) -> bool: ...
    @property
    def sender(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def pport(self) -> int: ...
    @property
    def cport(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def current_epoch(self) -> int: ...
    @property
    def config_epoch(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def myslots(self) -> bytes: ...
    @property
    def replicaof(self) -> str | None: ...
    @property
    def myip(self) -> str:
        """The announced address; "" if there is none, or if it is no IP address (see `refused`)."""
    @property
    def flags(self) -> int: ...
    @property
    def state(self) -> int: ...
    @property
    def mflags(self) -> int: ...
    @property
    def gossip(self) -> list[GossipEntry]:
        """The sound entries. An entry with a bad id or ip is left out and named in `refused`."""
    def gossip_at(self, places: Sequence[int]) -> list[GossipEntry]:
        """The gossip entries at these places (`Verdict.news`). One that is not there or not valid is left out."""
    @property
    def extensions(self) -> list[Extension]:
        """The sound extensions. An extension with a bad text is left out and named in `refused`."""
    @property
    def raw_extensions(self) -> tuple[bytes, int]:
        """The bytes of the extension section as received, and the number of extensions that the header announces."""
    @property
    def refused(self) -> list[str]:
        """Names of the refused fields, such as `gossip[3].ip` or `extensions[0].hostname`."""
    def decode(self) -> Heartbeat | Fail | Publish | Update | ModuleMessage | HeaderOnly | Unknown: ...

def parse(data: Buffer) -> list[Packet]:
    """Splits bytes into packets that follow each other without gaps. Raises PeerError, which names offset and field."""

def decode(data: Buffer) -> Heartbeat | Fail | Publish | Update | ModuleMessage | HeaderOnly | Unknown:
    """Decodes exactly one packet. Raises PeerError, which names the field."""

def encode(
    message: Heartbeat | Fail | Publish | Update | ModuleMessage | HeaderOnly | Unknown,
) -> bytes:
    """Encodes a message for the wire. Raises ConfigError, which names the field that does not fit."""

def key_slot(key: bytes) -> int:
    """The hash slot of a key: CRC16/XMODEM of the key, or of its {tag} if that is not empty, modulo 16,384."""

# ---------------------------------------------------------------- engine

def decrypt_key(directive: str, key: tuple[str, bytes], key_pass: str) -> bytes:
    """The key of a file (name, content) as PEM that is not encrypted; the content itself if it is not. Raises
    ConfigError, which names directive and file. May take some tenths of a second, in which other threads of Python run.
    """

@final
class TlsConfig:
    """Keys and rules of TLS, made of PEM: files are (name, content), authorities (directive, name, content). `suites`
    are names of the standard, the most wanted first; None is all. Raises ConfigError, which names directive and file.
    """

    def __new__(
        cls,
        *,
        cert: tuple[str, bytes],
        key: tuple[str, bytes],
        client_cert: tuple[str, bytes] | None = None,
        client_key: tuple[str, bytes] | None = None,
        authorities: Sequence[tuple[str, str, bytes]],
        auth_clients: str = "yes",
        tls12: bool = True,
        tls13: bool = True,
        suites: Sequence[str] | None = None,
    ) -> TlsConfig: ...
    @property
    def server_certificate(self) -> tuple[str, int, int] | None:
        """Of our certificate the serial number in hexadecimal, and the first and last second of its validity."""

    @property
    def client_certificate(self) -> tuple[str, int, int] | None:
        """The same of the one that is shown to who is dialled; None if that is no other one."""

    @property
    def authority(self) -> tuple[str, int, int] | None:
        """The same of the authority that expires first."""

# Events, in the order in which they happened. `link` is the engine's id of the link. They can be made from Python,
# because the simulated engine reports in the same classes.

@final
class LinkAccepted:
    """A peer's connection is up, and its TLS handshake is done. `listener` is the number that `listen` returned.

    `certificate_key`: the SHA-256 of the public key in the certificate that the peer showed, 64 hexadecimal digits; ""
    if it showed none. `certificate_names`: the DNS and URI names among its subject alternative names, within limits."""

    def __new__(
        cls,
        *,
        link: int,
        listener: int,
        ip: str,
        port: int,
        local_ip: str,
        certificate_key: str = "",
        certificate_names: Sequence[str] = (),
    ) -> LinkAccepted: ...
    @property
    def certificate_key(self) -> str: ...
    @property
    def certificate_names(self) -> list[str]: ...
    @property
    def link(self) -> int: ...
    @property
    def listener(self) -> int: ...
    @property
    def ip(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def local_ip(self) -> str: ...

@final
class LinkConnected:
    """Our dial is up, and its TLS handshake is done. `owner` is the number that was given to `connect`. For the peer's
    certificate see `LinkAccepted`."""

    def __new__(
        cls,
        *,
        link: int,
        owner: int,
        local_ip: str,
        certificate_key: str = "",
        certificate_names: Sequence[str] = (),
    ) -> LinkConnected: ...
    @property
    def certificate_key(self) -> str: ...
    @property
    def certificate_names(self) -> list[str]: ...
    @property
    def link(self) -> int: ...
    @property
    def owner(self) -> int: ...
    @property
    def local_ip(self) -> str: ...

@final
class PacketsReceived:
    """Whole packets of one link, in order. `verdicts` says what is news in each of them, None if all of it must be
    looked at. `dropped` holds the error text of each packet that was refused among them (H4-H9, H16, H18). The event
    may carry refusals only."""

    def __new__(
        cls,
        *,
        link: int,
        packets: Sequence[Packet],
        verdicts: Sequence[Verdict | None] = (),
        dropped: Sequence[str] = (),
    ) -> PacketsReceived: ...
    @property
    def link(self) -> int: ...
    @property
    def packets(self) -> list[Packet]: ...
    @property
    def verdicts(self) -> list[Verdict | None]: ...
    @property
    def dropped(self) -> list[str]: ...

@final
class QuietHeartbeats:
    """Heartbeats that said nothing new to the state, since the last such event (R33). They were taken where they were
    read, and wake nobody: the event waits for the next poll.

    `answered`: the PINGs, for each of which a PONG was queued. `noted`: the PONGs. `pongs`: the links of the PONGs,
    each with the time of its last one, unix milliseconds. The replication offsets of all of them are kept."""

    def __new__(cls, *, answered: int, noted: int, pongs: Sequence[tuple[int, int]]) -> QuietHeartbeats: ...
    @property
    def answered(self) -> int: ...
    @property
    def noted(self) -> int: ...
    @property
    def pongs(self) -> list[tuple[int, int]]: ...

@final
class LinkLost:
    """The link cannot go on; the main loop answers with close(link). Packets received before the end were reported
    earlier. `owner` is 0 for an inbound link. Raises ConfigError for an unknown `kind`."""

    def __new__(cls, *, link: int, owner: int, kind: _LossReason, detail: str) -> LinkLost: ...
    @property
    def link(self) -> int: ...
    @property
    def owner(self) -> int: ...
    @property
    def kind(self) -> _LossReason: ...
    @property
    def detail(self) -> str: ...

@final
class LinkDrained:
    """The last job of a closed link is home; the main loop answers with free(link)."""

    def __new__(cls, *, link: int) -> LinkDrained: ...
    @property
    def link(self) -> int: ...

@final
class AcceptRefused:
    """An inbound connection ended before it became a link. Raises ConfigError for an unknown `kind`."""

    def __new__(cls, *, listener: int, ip: str, port: int, kind: _RefusalReason, detail: str) -> AcceptRefused: ...
    @property
    def listener(self) -> int: ...
    @property
    def ip(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def kind(self) -> _RefusalReason: ...
    @property
    def detail(self) -> str: ...

_Event: TypeAlias = (
    LinkAccepted | LinkConnected | PacketsReceived | QuietHeartbeats | LinkLost | LinkDrained | AcceptRefused
)

# The published view of the node table (R33, R34).

@final
class NodeTimes:
    """The times of one node. They change without a new view: each node has one such object, shared with the workers."""

    def __new__(cls) -> NodeTimes: ...
    def set_own(self, ping_sent_ms: int, pong_received_ms: int) -> None:
        """Sets the times that our gossip gives for the node from now on, unix milliseconds, 0 for never."""
    @property
    def gossiped_pong_ms(self) -> int:
        """The greatest PONG time that quiet heartbeats gossiped about the node since `forget_gossiped`, unix ms."""
    def forget_gossiped(self) -> None:
        """Sets `gossiped_pong_ms` to 0: we have heard from the node ourselves."""
    @property
    def repl_offset(self) -> int:
        """The replication offset in the node's last heartbeat, quiet or not."""
    def set_repl_offset(self, offset: int) -> None: ...
    @property
    def round_trip_us(self) -> tuple[int, int] | None:
        """(average, greatest): how many microseconds our PINGs to the node take until their PONG is read, on the moving
        average and at most within the last minute or two; None before the first PONG. While none comes, the last ones.
        The threads that do the I/O take the times, so they are right while the main loop hangs."""
    @staticmethod
    def round_trips_us(nodes: Sequence[NodeTimes]) -> tuple[list[int | None], list[int | None]]:
        """`round_trip_us` of each node, for whoever asks for those of thousands: all averages, and all that are
        greatest."""
    @property
    def reports_repeated_ms(self) -> int:
        """When a quiet heartbeat of the node last repeated all of the node's failure reports, unix ms; 0 for never."""

@final
class ExpectedHeartbeat:
    """What the header and extensions of a node's heartbeat look like if they say nothing new.

    `config_epoch` is None for a replica, which repeats the claims of its primary: these are not compared. Only the
    flags in `flags_mask` are compared. `extensions` and `extensions_len` are `Packet.raw_extensions` of the packet that
    was applied last. `reports` are the nodes that this node reports as failing, named by their NodeTimes. If it
    `is_unsettled`, each header must be applied, whatever it says."""

    def __new__(
        cls,
        *,
        config_epoch: int | None,
        myslots: bytes,
        replicaof: str | None,
        flags: int,
        flags_mask: int,
        extensions: bytes,
        extensions_len: int,
        reports: Sequence[NodeTimes],
        is_unsettled: bool = False,
    ) -> ExpectedHeartbeat: ...

@final
class NodeRow:
    """One node of a view.

    `is_gossiped`: our gossip may mention it. `has_reports`: another node reports it as failing. If `expected` is None,
    its heartbeats are never quiet."""

    def __new__(
        cls,
        *,
        times: NodeTimes,
        node_id: str,
        ip: str,
        port: int,
        pport: int,
        cport: int,
        flags: int,
        is_gossiped: bool,
        has_reports: bool,
        takes_extensions: bool,
        expected: ExpectedHeartbeat | None = None,
    ) -> NodeRow: ...

@final
class Version:
    """The version of the state, which workers read: they answer from a view only while the state has its version."""

    def __new__(cls) -> Version: ...
    @property
    def number(self) -> int: ...
    def move(self) -> None:
        """From now on the state has another version. Called the moment anything changes that decides what a heartbeat
        of a peer changes, or what ours say."""

@final
class Verdict:
    """What is news in a heartbeat to the state of one `version`. A state of another version must look at all of it.

    `news` are the places of its gossip entries that say something new. If `header_is_known`, its header says nothing
    new, but for the slots and config epoch of a primary, which `claims_are_known` is about. Its extensions say nothing
    new. What it says of the entries holds after the header was applied too, unless that moved
    the version."""

    def __new__(
        cls, *, version: int, is_pong: bool, header_is_known: bool, claims_are_known: bool, news: tuple[int, ...]
    ) -> Verdict: ...
    @property
    def version(self) -> int: ...
    @property
    def is_pong(self) -> bool: ...
    @property
    def header_is_known(self) -> bool: ...
    @property
    def claims_are_known(self) -> bool: ...
    @property
    def news(self) -> tuple[int, ...]: ...
    @property
    def is_quiet(self) -> bool:
        """Whether there is no news at all."""

@final
class View:
    """The node table at the version that the state has when the view is made.

    `heartbeat` is an encoded PING of ours, with all our extensions and without gossip. `table_len` counts every node
    that we know, ourselves included; a heartbeat mentions `gossip_percent` of them. If there is a `previous` view,
    `rows` are only those that are new or another than there, and the nodes whose ids are in `gone` have none any more:
    then a view costs microseconds, however many nodes there are."""

    def __new__(
        cls,
        *,
        version: Version,
        now_ms: int,
        heartbeat: bytes,
        current_epoch: int,
        table_len: int,
        rows: Sequence[NodeRow],
        gossip_percent: int = ...,
        previous: View | None = None,
        gone: Sequence[str] = (),
    ) -> View: ...
    @property
    def version(self) -> int: ...
    @property
    def is_current(self) -> bool:
        """Whether the state still has that version."""
    def knows(self, node_id: str) -> bool:
        """Whether the view has a row for the node. Without a row no heartbeat to that node can be encoded from it."""
    def compare(self, packet: Packet, peer_ip: str, now_ms: int) -> Verdict | None:
        """What is news in a heartbeat at `now_ms`; None if all of it must be looked at. The times that its gossip
        brings are noted. `peer_ip` is the other end of the link that it came on."""
    def gossip_news(self, packet: Packet, now_ms: int) -> tuple[int, ...] | None:
        """The places of a heartbeat's gossip entries that are news at `now_ms`, whatever its header says. The times
        that the others bring are noted. None if all entries must be looked at."""
    def note_offset(self, packet: Packet) -> None:
        """Keeps the replication offset of a quiet heartbeat that takes effect."""
    def encode(self, message_type: int, receiver: str, seed: int) -> bytes:
        """A heartbeat as the workers encode it. The choice of mentioned nodes follows from `seed` (64 bits) alone."""

@final
class Engine:
    """I/O threads, queues and sockets. Only the main thread may call its methods. A call from a second thread during
    another call raises StateError.

    With `shares_workers` all such engines of the process have the same I/O threads, as many as the one asks for that
    asks for most; an engine with `io_threads` 1 uses none of them."""

    def __new__(
        cls,
        *,
        io_threads: int = ...,
        shares_workers: bool = False,
        io_threads_always_active: bool = False,
        handshake_timeout_ms: int = ...,
        first_packet_timeout_ms: int = ...,
        unacknowledged_timeout_ms: int = ...,
        lease_ms: int = ...,
        max_links: int = ...,
        max_handshakes: int = ...,
        max_anonymous_bytes: int = ...,
        link_sendbuf_limit_bytes: int = 0,
        inbox_jobs: int = ...,
        outbox_completions: int = ...,
        tls: TlsConfig | None = None,
    ) -> Engine: ...
    def fileno(self) -> int:
        """A file descriptor that is readable while poll(0) has something to do."""
    def poll(self, timeout_ms: int | None = ...) -> list[_Event]:
        """Dispatches queued sends, waits at most `timeout_ms` (None: until something happens), and returns what
        happened. Other Python threads may run meanwhile."""
    def flush(self) -> bool:
        """Ends a step of the main loop: dispatches queued sends and arms the wake-up. True if poll(0) already has
        something to do, so that the main loop should take another step at once."""
    def listen(self, ip: str, port: int, *, tls: bool = False, backlog: int = ...) -> int:
        """Opens a listening socket and returns its number. Raises OSError, or ConfigError if `ip` is no address."""
    def listener_port(self, listener: int) -> int:
        """The port of a listener (`listen` with port 0 lets the system choose one)."""
    def stop_listening(self, listener: int) -> None:
        """Closes a listening socket; the links accepted there stay."""
    def connect(
        self,
        ip: str,
        port: int,
        *,
        owner: int = 0,
        tls: bool = False,
        source_ip: str | None = None,
        times: NodeTimes | None = None,
    ) -> int:
        """Starts a dial and returns its link at once; LinkConnected or LinkLost reports how the dial ends. `times` are
        those of the node that is dialled: they get the round trips of the PINGs on the link."""
    def send(self, link: int, data: bytes) -> bool:
        """Queues one encoded message. False if the link is closed, closing or unknown."""
    def broadcast(self, links: Sequence[int], data: bytes, *, unsent_max_bytes: int = ...) -> int:
        """Queues one message on many links and stores it once. A link with more than `unsent_max_bytes` unsent does not
        get it (default: no limit). Returns how many such links there are; those that have ended are not among them."""
    def publish(self, view: View) -> None:
        """Publishes a view: from now on heartbeats are compared with it and encoded from it."""
    def bind(self, link: int, node_id: str) -> None:
        """Binds a link to the node that it is of. Only the heartbeats of a bound link can be quiet, and only those that
        name that node as their sender."""
    def send_heartbeat(self, link: int, message_type: int) -> bool:
        """Queues a PING or PONG on a bound link; the sending job encodes it. False where `send` gives False, and if
        the link is not bound, no view is published, or the published view has no row for the node. The caller then
        encodes the heartbeat itself."""
    def close(self, link: int) -> None:
        """Ends a link: its queue is dropped, no new job starts, and LinkDrained follows when its last job is home."""
    def free(self, link: int) -> None:
        """Frees a drained link, which closes its socket."""
    def last_read_ms(self, link: int) -> int | None:
        """Milliseconds since bytes were last read from the link; None if none were."""
    def send_queue(self, link: int) -> tuple[int, int]:
        """(messages, bytes) of the link that are not wholly sent."""
    def resize(self, io_threads: int) -> None:
        """Changes the number of I/O threads, the main thread included (R22)."""
    def set_always_active(self, always: bool) -> None:
        """Keeps all workers active, or lets their number follow the load."""
    def set_link_sendbuf_limit(self, limit_bytes: int) -> None:
        """Bytes that a link may have unsent; 0 for no limit. Holds from the next message on."""
    def set_lease_ms(self, lease_ms: int) -> None:
        """For how long after the last poll or flush quiet heartbeats are answered without the main loop; 0: never, not
        even within a step."""
    def set_unacknowledged_timeout(self, timeout_ms: int) -> None:
        """How long the kernel waits for a peer's system to acknowledge or take bytes, on all links (P7)."""
    def set_tls(self, tls: TlsConfig | None) -> None:
        """Connections made from now on use these keys and rules."""
    def drain(self) -> None:
        """Waits until no job is away. The next poll returns the events that this brings."""
    def stats(self) -> dict[str, int]:
        """Counters and gauges by name; `clusterbus.member.counters` lists them."""
    def reset_stats(self) -> None:
        """Sets the counters to zero."""
    def shutdown(self) -> None:
        """Stops the workers between two jobs and closes every socket."""
