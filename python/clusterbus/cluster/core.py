"""`Core`: the state that all rules of the protocol share, and the methods that keep its parts consistent.

Owns the table, the slots, the epochs, the links, the pending effects and the counters. The modules with the rules
(`heartbeat`, `gossip_in`, `failure`, ...) are functions over it. Must never open a socket, read a clock, or draw
randomness of its own. Main thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from clusterbus.cluster import constants as c
from clusterbus.cluster.effects import BindLink, CloseLink, Effect, Log, Notify, Refuse, Save, Send
from clusterbus.cluster.events import (
    AddressChanged,
    EpochChanged,
    Event,
    LinkDown,
    NodeLeft,
    RoleChanged,
    SlotsChanged,
)
from clusterbus.cluster.history.change import Cause
from clusterbus.cluster.history.recorder import History
from clusterbus.cluster.model.agenda import Agenda
from clusterbus.cluster.model.claim_state import Claims
from clusterbus.cluster.model.election_state import Election, EpochBound, Handover, ManualFailover
from clusterbus.cluster.model.leave_state import LeaveState
from clusterbus.cluster.model.node import Link, Node, Version
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.cluster.model.slots import SlotMap, ranges_of
from clusterbus.cluster.model.state_reason import StateReason
from clusterbus.cluster.model.surveys import Coverage, Survey
from clusterbus.cluster.model.switches import Switches
from clusterbus.cluster.model.table import ForgottenNodes, NodeTable
from clusterbus.data_plane import DataPlane
from clusterbus.view import View
from clusterbus.wire import Message, Update

MESSAGES_SENT: Final = tuple(f"messages_{name}_sent" for name in c.MESSAGE_NAMES)
MESSAGES_RECEIVED: Final = tuple(f"messages_{name}_received" for name in c.MESSAGE_NAMES)


class ClusterConfig(Protocol):
    """The directives that this layer reads, each at the time of use. `clusterbus.config.Config` is one."""

    @property
    def loglevel(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def tls_port(self) -> int: ...
    @property
    def tls_cluster(self) -> bool: ...
    @property
    def cluster_port(self) -> int: ...
    @property
    def cluster_node_timeout(self) -> int: ...
    @property
    def cluster_announce_ip(self) -> str: ...
    @property
    def cluster_announce_port(self) -> int: ...
    @property
    def cluster_announce_tls_port(self) -> int: ...
    @property
    def cluster_announce_bus_port(self) -> int: ...
    @property
    def cluster_announce_hostname(self) -> str: ...
    @property
    def cluster_announce_human_nodename(self) -> str: ...
    @property
    def cluster_announce_client_ipv4(self) -> str: ...
    @property
    def cluster_announce_client_ipv6(self) -> str: ...
    @property
    def cluster_announce_client_port(self) -> int: ...
    @property
    def cluster_announce_client_tls_port(self) -> int: ...
    @property
    def availability_zone(self) -> str: ...
    @property
    def cluster_message_gossip_perc(self) -> int: ...
    @property
    def cluster_ping_interval(self) -> int: ...
    @property
    def cluster_preferred_endpoint_type(self) -> str: ...
    @property
    def cluster_max_nodes(self) -> int: ...
    @property
    def cluster_max_handshakes(self) -> int: ...
    @property
    def cluster_max_trial_nodes(self) -> int: ...
    @property
    def cluster_max_anonymous_links(self) -> int: ...
    @property
    def cluster_first_packet_timeout(self) -> int: ...
    @property
    def cluster_require_full_coverage(self) -> bool: ...
    @property
    def cluster_replica_validity_factor(self) -> int: ...
    @property
    def cluster_replica_no_failover(self) -> str: ...
    @property
    def cluster_allow_replica_migration(self) -> bool: ...
    @property
    def cluster_migration_barrier(self) -> int: ...
    @property
    def cluster_log_max_len(self) -> int: ...
    @property
    def cluster_blacklist_ttl(self) -> int: ...
    @property
    def cluster_manual_failover_timeout(self) -> int: ...
    @property
    def cluster_epoch_jump_max(self) -> int: ...
    @property
    def cluster_allow_node_ids(self) -> tuple[str, ...]: ...
    @property
    def cluster_allow_networks(self) -> tuple[str, ...]: ...
    @property
    def cluster_allow_certificate_names(self) -> tuple[str, ...]: ...
    @property
    def cluster_pin_certificates(self) -> str: ...
    @property
    def cluster_label(self) -> str: ...
    @property
    def cluster_observer(self) -> bool: ...


class HasPorts(Protocol):
    """A header or a gossip entry."""

    @property
    def port(self) -> int: ...
    @property
    def pport(self) -> int: ...


@dataclass(frozen=True, slots=True)
class AppliedConfig:
    """What our heartbeats take from the configuration and from no field of a node, as it was applied last."""

    announce_ip: str = ""
    tls_cluster: bool = False
    gossip_percent: int = c.GOSSIP_PERCENT
    label: str = ""
    admission: tuple[object, ...] = ()
    """The directives by which `admission` judges links: those that are up are looked at when one changes."""


class Core:
    """Shared state. Invariant: `now_ms` is the time of the input that is being handled, and never goes back.

    `read_age_ms(link)` gives the milliseconds since bytes were last read on a link, None before the first (R23).
    `ClusterState.poll_effects` acts on `wants_save` and `wants_state_update`.
    """

    wants_review = False
    """Links are to be judged anew by `admission`."""
    wants_label_told = False
    """Our label is another one (`labels`)."""

    def __init__(
        self,
        *,
        config: ClusterConfig,
        myself: Node,
        random: Random,
        now_ms: int,
        read_age_ms: Callable[[int], int | None],
        data_plane: DataPlane | None = None,
    ) -> None:
        self.data_plane = data_plane if data_plane is not None else DataPlane()
        self.config = config
        self.random = random
        self.now_ms = now_ms
        self.read_age_ms = read_age_ms
        self.myself = myself
        self.table = NodeTable(myself)
        self.history = History(self, self.table.version)
        self.slots = SlotMap()
        self.forgotten = ForgottenNodes()
        self.forgotten_told: tuple[tuple[str, int], ...] = ()
        """What our heartbeats say of the forgotten nodes."""
        self.links: dict[int, Link] = {}
        self.anonymous_links = 0
        """Inbound links without a node."""
        self.inbound_agenda: Agenda[Link] = Agenda()
        """When each inbound link may have been silent for too long."""
        self.ticked_ms = 0
        """When the last tick was."""
        self.timings: tuple[int, int] = (0, 0)
        """The directives by which the agendas were made: node timeout, ping interval."""
        self._current_epoch = 0
        self.last_vote_epoch = 0
        self.epoch_bound = EpochBound()
        self.election = Election()
        self.elected_epoch = 0
        """The epoch of the last election that we won since we started, 0 for none."""
        self.manual = ManualFailover()
        self.handover: Handover | None = None
        self.claims = Claims()
        self.leave = LeaveState()
        self._state_is_ok = False
        self.switches = Switches()
        self._state_reason = StateReason.STARTED
        self.started_ms = now_ms
        self.minority_ms = 0
        self._repl_offset = 0
        self.gave_way_version = 0
        """The version in which `roles` looked last for a newer primary of our shard."""
        self.survey = Survey()
        self.coverage = Coverage()
        self.judged_version = 0
        """The version in which `reachability` judged all suspects last."""
        self.counters: Counter[str] = Counter()
        self.applied = AppliedConfig()
        self.updates: tuple[int, dict[str, Update]] = (0, {})
        """The version of the state, and UPDATEs about owners of slots as they are at that version."""
        self.receivers: dict[int, tuple[int, tuple[tuple[int, ...], tuple[int, ...]]]] = {}
        """For each form of light messages: a version, and the links that `pubsub` sends to at it. Emptied when a link
        takes light messages from now on, which is no news to the version."""
        self.last_view: View | None = None
        self.own_heartbeat: tuple[int, bytes] = (0, b"")
        """What `quiet` encoded last of ourselves for a view, and the version of our own header that it is of."""
        self.conf_pieces: list[str] = []
        """The text of nodes.conf as it was made last, without the line of this node (`Version.unsaved`)."""
        self.wants_save = False
        self.wants_durable_save = False
        self.wants_sync = False
        self.wants_state_update = False
        self._effects: list[Effect] = []

    # ------------------------------------------------------------ time and numbers

    @property
    def inbound_idle_ms(self) -> int:
        """So long must an inbound link be silent to be closed (H32)."""
        first_packet_ms = self.config.cluster_first_packet_timeout
        return max(first_packet_ms + c.INBOUND_IDLE_MARGIN_MS, c.INBOUND_IDLE * self.node_timeout_ms)

    @property
    def is_full(self) -> bool:
        """No room for a further node (H30)."""
        return len(self.table) >= self.config.cluster_max_nodes

    @property
    def node_timeout_ms(self) -> int:
        return self.config.cluster_node_timeout

    @property
    def handshake_timeout_ms(self) -> int:
        """A handshake that takes longer than this is given up."""
        return max(self.config.cluster_node_timeout, c.HANDSHAKE_TIMEOUT_MIN_MS)

    def set_now(self, now_ms: int, cause: Cause = Cause.ORDER) -> None:
        """Begins an input: its time, and why it may change something. A time before the last one counts as the last
        one (H29).
        """
        self.history.begin(cause)
        self.now_ms = max(self.now_ms, now_ms)

    def new_id(self) -> str:
        """A random id, for a node in handshake or for a shard."""
        return f"{self.random.getrandbits(160):040x}"

    # ------------------------------------------------------------ what every header announces

    @property
    def version(self) -> Version:
        """Changes with everything that decides what a peer's heartbeat changes, or what ours say."""
        return self.table.version

    @property
    def current_epoch(self) -> int:
        return self._current_epoch

    @current_epoch.setter
    def current_epoch(self, epoch: int) -> None:
        if epoch != self._current_epoch:
            self.history.note_own("current_epoch", str(self._current_epoch))
        self._current_epoch = epoch
        self.version.move_own_header()

    @property
    def state_is_ok(self) -> bool:
        return self._state_is_ok

    @state_is_ok.setter
    def state_is_ok(self, is_ok: bool) -> None:
        self.history.note_own("state", self.state_text)
        self._state_is_ok = is_ok
        self.version.move_own_header()

    @property
    def state_reason(self) -> StateReason:
        """Why the state is fail; NONE while it is ok."""
        return self._state_reason

    @state_reason.setter
    def state_reason(self, reason: StateReason) -> None:
        self.history.note_own("state", self.state_text)
        self._state_reason = reason

    @property
    def state_text(self) -> str:
        """The state as the history tells it."""
        return "ok" if self._state_is_ok else f"fail ({self._state_reason.value})"

    @property
    def repl_offset(self) -> int:
        return self._repl_offset

    @repl_offset.setter
    def repl_offset(self, offset: int) -> None:
        if offset != self._repl_offset:
            self._repl_offset = offset
            self.version.move_own_header()

    # ------------------------------------------------------------ effects

    def emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def send(self, link: Link, message: Message) -> None:
        self._effects.append(Send(link.link_id, message))
        self.counters[MESSAGES_SENT[message.type]] += 1

    def notify(self, event: Event) -> None:
        self._effects.append(Notify(event))
        self.history.note_event(event)

    def log(self, level: str, text: str) -> None:
        self._effects.append(Log(level, text))

    @property
    def logs_debug(self) -> bool:
        """Whether lines of the level debug are written. Those of each heartbeat are not even made otherwise."""
        return self.config.loglevel == "debug"

    @property
    def logs_verbose(self) -> bool:
        """The same for lines of the level verbose."""
        return self.config.loglevel in ("debug", "verbose")

    def refuse(self, refusal: Refusal, peer: str, text: str, *, event: Event | None = None) -> None:
        """Counts something that a peer should not have sent, and has it logged now and then, with the event if any."""
        self.count_refused(refusal)
        self._effects.append(Refuse(peer, refusal, text, event))

    def count_refused(self, refusal: Refusal) -> None:
        """Counts something that is not worth a line in the log, because it happens among sound nodes too."""
        self.counters[refusal.counter] += 1

    def bind(self, link: Link, node_id: str) -> None:
        """Gives the engine the name of the known node whose link it is."""
        self._effects.append(BindLink(link.link_id, node_id))

    def want_save(self, *, durable: bool = False) -> None:
        """Asks for nodes.conf to be written after this input."""
        self.wants_save = True
        self.wants_durable_save = self.wants_durable_save or durable

    def want_sync(self) -> None:
        """Asks for nodes.conf to be on disk soon: the next tick saves it durably, unless a rule does so before."""
        self.wants_sync = True

    def save_now(self) -> None:
        """Asks for nodes.conf to be on disk before any later effect is carried out."""
        self.wants_save = False
        self.wants_durable_save = self.wants_sync = False
        self._effects.append(Save(durable=True))

    def want_state_update(self) -> None:
        """Asks for the cluster's state to be evaluated after this input: coverage or majority may have changed."""
        self.wants_state_update = True

    # ------------------------------------------------------------ nodes

    def take_gossiped_pong(self, node: Node) -> None:
        """Takes over the PONG time that quiet heartbeats gossiped about a node, if `gossip_in` would do so too (S2)."""
        gossiped_ms = node.times.gossiped_pong_ms
        if (
            node.pong_received_ms < gossiped_ms <= self.now_ms + c.GOSSIP_FUTURE_MAX_MS
            and node.ping_sent_ms == 0
            and not node.fail_reports
            and not node.flags & c.FAILING
        ):
            node.pong_received_ms = gossiped_ms

    def set_failure_flags(self, node: Node, flags: int) -> None:
        """Makes `flags` (PFAIL, FAIL or 0) the node's failure flags."""
        node.flags = (node.flags & ~c.FAILING) | flags
        if flags:
            self.table.failing[node.node_id] = node
        else:
            self.table.failing.pop(node.node_id, None)
        if node is self.myself.replicaof:
            self.note_primary_failure()
        self.want_state_update()

    def note_primary_failure(self) -> None:
        """Our header announces whether we hold our primary FAIL (P13). To be called when either may have changed."""
        primary = self.myself.replicaof
        if primary is not None and primary.is_failed:
            self.myself.flags |= c.FLAG_MY_PRIMARY_FAIL
        else:
            self.myself.flags &= ~c.FLAG_MY_PRIMARY_FAIL

    def remove_node(self, node: Node, reason: str) -> None:
        """Removes a node from all parts of the state (`clusterDelNode`) and closes its links."""
        self.history.note_reason(node, reason)
        self.take_slots(node.slot_bits)
        self.slots.forget(node)
        for other in list(self.table.reported.values()):
            if other.fail_reports.pop(node, None) is not None:
                other.touch()
            if not other.fail_reports:
                self.table.reported.pop(other.node_id, None)
        for replica in list(node.replicas.values()):
            replica.follow(None)
        node.follow(None)
        for link in (node.link, node.inbound_link):
            if link is not None:
                self.close_link(link, reason)
        was_known = not node.in_handshake
        self.table.remove(node)
        if was_known:
            self.notify(NodeLeft(node.node_id, reason))
            self.want_save()
            self.want_state_update()

    def close_link(self, link: Link, reason: str) -> None:
        """Forgets a link and asks for its connection to be closed."""
        self.forget_link(link, reason)
        self.emit(CloseLink(link.link_id, reason))

    def forget_link(self, link: Link, reason: str) -> None:
        """Detaches a link from its node and forgets it."""
        if self.links.pop(link.link_id, None) is None:
            return
        if link.inbound:
            self.inbound_agenda.remove(link)
        node, link.node = link.node, None
        if node is None:
            self.anonymous_links -= 1
            return
        age_ms = self.read_age_ms(link.link_id)
        if age_ms is not None:  # a quiet PING leaves no other trace, and this one goes with the link
            node.data_received_ms = max(node.data_received_ms, self.now_ms - age_ms)
        if node.link is link:
            node.link = None
        elif node.inbound_link is link:
            node.inbound_link = None
            self.table.half_known[node.node_id] = node
            node.inbound_lost_ms = self.now_ms
            # What comes on the next one may be of another run of the node, or of another server in its place.
            node.tags_version = -1
            node.is_clusterbus = False
        if not node.in_handshake:
            self.notify(LinkDown(node.node_id, link.inbound, reason))

    def set_address(self, node: Node, ip: str, port: int, tls_port: int, cport: int) -> None:
        """Changes the address of a known node, and drops the link to the old one."""
        node.ip, node.port, node.tls_port, node.cport = ip, port, tls_port, cport
        node.address_changed_ms = self.now_ms
        node.flags &= ~c.FLAG_NOADDR
        node.dial_failures = 0
        node.next_dial_ms = 0
        if node.link is not None:
            self.close_link(node.link, "address changed")
        self.log("notice", f"Address updated for node {node.name}, now {ip}:{self.client_port(node)}")
        self.notify(AddressChanged(node.node_id, ip, self.client_port(node), cport))
        self.want_save()
        self.want_state_update()

    def client_port(self, node: Node) -> int:
        """The port that the wire calls `port`: the TLS port if the bus uses TLS."""
        return node.tls_port if self.config.tls_cluster else node.port

    def other_port(self, node: Node) -> int:
        """The port that the wire calls `pport`."""
        return node.port if self.config.tls_cluster else node.tls_port

    def ports_of(self, message: HasPorts) -> tuple[int, int]:
        """(TCP port, TLS port) of a header or gossip entry, from its `port` and `pport`."""
        if self.config.tls_cluster:
            return message.pport, message.port
        return message.port, message.pport

    def notify_role(self, node: Node) -> None:
        primary = node.replicaof
        self.notify(
            RoleChanged(
                node.node_id,
                "replica" if node.is_replica else "primary",
                primary.node_id if primary is not None else None,
            )
        )

    # ------------------------------------------------------------ slots and epochs

    def move_slots(self, node: Node, bits: int, *, durable: bool = True) -> None:
        """Gives slots to a node and takes them from their owners. `durable`: on disk before a message announces it."""
        self.take_slots(bits & self.slots.assigned)
        if not bits:
            return
        if not node.slot_bits and any(other.replicas for other in self.table.all_nodes if other.is_primary):
            node.flags |= c.FLAG_MIGRATE_TO  # where primaries have replicas, each should have one
        self.slots.give(node, bits)
        self.notify(SlotsChanged(node.node_id, ranges_of(bits), ()))
        self.want_save(durable=durable)
        self.want_state_update()

    def take_slots(self, bits: int) -> None:
        """Leaves slots without an owner."""
        lost = [(owner, owner.slot_bits & bits) for owner in self.slots.owners_of(bits)]
        if not lost:
            return
        self.slots.free(bits)
        for owner, gone in lost:
            self.notify(SlotsChanged(owner.node_id, (), ranges_of(gone)))
        self.want_save()
        self.want_state_update()

    def set_config_epoch(self, node: Node, config_epoch: int) -> None:
        if node is self.myself:  # whether its epoch collides with ours is part of a node's row (H27)
            for other in self.table.all_nodes:
                if other.config_epoch in (node.config_epoch, config_epoch):
                    other.outdate()
        node.config_epoch = config_epoch
        self.notify(EpochChanged(node.node_id, config_epoch))
        # The epoch of another node says who owns slots. One that gets slots later is on disk with them (`move_slots`).
        self.want_save(durable=node is self.myself or node.slot_bits != 0)
