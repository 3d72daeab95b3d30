"""`ClusterState`: the protocol core as one object. Inputs go in, effects come out.

Owns the list of inputs, and the order in which an input is applied and settled. The rules are in the modules it calls
(`receive`, `cron`, `links`, `orders`, ...). Must never carry out an effect. Main thread.

Every input takes `now_ms`, unix milliseconds of a timeline that never jumps, and may cause effects, which
`poll_effects` returns in order. Nothing that a peer sends raises; an operator's mistake raises StateError.
"""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

from clusterbus.cluster import constants as c
from clusterbus.cluster import cron, pubsub, receive
from clusterbus.cluster.claims import electorate, giving, promises, taking
from clusterbus.cluster.claims.letters import Kind, Letter
from clusterbus.cluster.core import ClusterConfig, Core
from clusterbus.cluster.effects import Effect, Save
from clusterbus.cluster.failover import handover, health, manual_failover, reachability, replication
from clusterbus.cluster.heartbeats import heartbeat, quiet
from clusterbus.cluster.history.change import Cause
from clusterbus.cluster.history.recorder import History
from clusterbus.cluster.membership import acquaintance, labels, leaving, links, observing
from clusterbus.cluster.membership import tags as own_tags
from clusterbus.cluster.membership.myself import refresh_myself
from clusterbus.cluster.model.leave_state import LeaveAnswer
from clusterbus.cluster.model.node import Certificate, Link, Node, OwnClaims
from clusterbus.cluster.model.records import NodesConf
from clusterbus.cluster.model.state_reason import StateReason
from clusterbus.cluster.model.switches import Switches
from clusterbus.cluster.operator import describe, orders, persist, slot_moves
from clusterbus.data_plane import DataPlane
from clusterbus.errors import StateError
from clusterbus.view import Verdict, View
from clusterbus.wire import Heartbeat, Packet

P = ParamSpec("P")
R = TypeVar("R")
Method: TypeAlias = "Callable[Concatenate[ClusterState, P], R]"


def _order(words: str) -> Callable[[Method[P, R]], Method[P, R]]:
    """Has the history tell of an order, as `words` with its arguments. One that raises StateError is not told."""

    def decorate(method: Method[P, R]) -> Method[P, R]:
        signature = inspect.signature(method)

        @functools.wraps(method)
        def ordered(self: ClusterState, /, *args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(self, *args, **kwargs).arguments
            switches = [name.upper() for name, value in given.items() if value is True]
            with self._core.history.order(" ".join((words.format(**given), *switches))):
                return method(self, *args, **kwargs)

        return ordered

    return decorate


class ClusterState:
    """One member of a cluster.

    `config` is read at the time of use. `random` is the only source of randomness. `read_age_ms(link)` gives the
    milliseconds since bytes were last read on a link, None before the first (R23). `saved` is a parsed nodes.conf, with
    this node's own id and epochs. Without it the node is new: a primary without slots, under `node_id` or a random id.
    `data_plane` answers how far replication is and which keys a slot has, and must raise nothing but StateError;
    without one there is no data.
    """

    def __init__(
        self,
        *,
        config: ClusterConfig,
        random: Random,
        now_ms: int,
        read_age_ms: Callable[[int], int | None],
        node_id: str | None = None,
        saved: NodesConf | None = None,
        data_plane: DataPlane | None = None,
    ) -> None:
        if saved is not None:
            node_id = persist.myself_of(saved).node_id
        elif node_id is None:
            node_id = observing.new_id(random, observes=config.cluster_observer)
        shard_id = f"{random.getrandbits(160):040x}"
        myself = Node(node_id, c.FLAG_PRIMARY | c.FLAG_MYSELF, shard_id, now_ms)
        myself.is_clusterbus, myself.tags_version = True, 0
        myself.is_observer = config.cluster_observer
        self._core = Core(
            config=config,
            myself=myself,
            random=random,
            now_ms=now_ms,
            read_age_ms=read_age_ms,
            data_plane=data_plane,
        )
        self._ticks = 0
        if saved is not None:
            persist.restore(self._core, saved)
            observing.check_saved(self._core)
            if len(self._core.table) > 1:
                self._core.claims.blind_until_ms = now_ms + config.cluster_node_timeout
        refresh_myself(self._core)
        self._core.history.follow_config()

    # ------------------------------------------------------------ inputs: links

    def handle_link_opened(
        self, node_id: str, link: int, local_ip: str, now_ms: int, certificate: Certificate | None = None
    ) -> None:
        """A Dial succeeded: the link to that node is up. `local_ip` is our end of it, `certificate` what the node has
        shown over TLS.
        """
        self._core.set_now(now_ms, Cause.LINK)
        links.opened(self._core, node_id, link, local_ip, certificate)

    def handle_dial_failed(self, node_id: str, error: str, now_ms: int) -> None:
        """A Dial failed."""
        self._core.set_now(now_ms, Cause.LINK)
        links.dial_failed(self._core, node_id, error)

    def handle_link_accepted(
        self, link: int, ip: str, local_ip: str, now_ms: int, certificate: Certificate | None = None
    ) -> None:
        """A peer at `ip` dialled us, and has shown that certificate over TLS."""
        self._core.set_now(now_ms, Cause.LINK)
        links.accepted(self._core, link, ip, local_ip, certificate)

    def handle_packet(self, link: int, packet: Packet, now_ms: int, verdict: Verdict | None = None) -> None:
        """A whole packet arrived on a link, with what is news in it if a worker has found that out (R33). Ignored if
        the link is not known (any more).
        """
        core = self._core
        core.set_now(now_ms)
        found = core.links.get(link)
        if found is not None:
            core.history.begin_packet(found, packet.sender, packet.type)
            receive.handle(core, found, packet, verdict)

    def handle_quiet(self, answered: int, noted: int, pongs: Sequence[tuple[int, int]], now_ms: int) -> None:
        """Applies heartbeats that were quiet to the version at which they were taken (R33): how many PINGs were
        answered, how many PONGs came, and the links of the PONGs with the times at which they came.
        """
        self._core.set_now(now_ms, Cause.ANSWER)
        quiet.take(self._core, answered, noted, pongs)

    def handle_link_closed(self, link: int, reason: str, now_ms: int) -> None:
        """A link is gone, but not by our CloseLink."""
        self._core.set_now(now_ms, Cause.LINK)
        links.closed(self._core, link, reason)

    def handle_config_changed(self, now_ms: int) -> None:
        """Some directive has another value: what this node announces follows at once, not at the next tick (P34)."""
        self._core.set_now(now_ms, Cause.CONFIGURATION)
        self._core.history.follow_config()
        refresh_myself(self._core)
        labels.follow_config(self._core)

    def tick(self, now_ms: int) -> None:
        """To be called ten times a second."""
        self._core.set_now(now_ms, Cause.CLOCK)
        self._ticks += 1
        cron.tick(self._core, self._ticks)

    # ------------------------------------------------------------ inputs: operator

    @_order("CLUSTER MEET {ip} {port}")
    def meet(self, ip: str, port: int, cport: int | None, now_ms: int) -> Node | None:
        """CLUSTER MEET; `cport` None means `port` + 10000. Returns the node in handshake, None if there is no room.
        Raises StateError for an invalid address.
        """
        self._core.set_now(now_ms)
        return orders.meet(self._core, ip, port, cport)

    def ping(self, node_id: str, now_ms: int) -> None:
        """Sends a PING to a node at once, if there is a link and it owes us no PONG. Nothing happens otherwise."""
        self._core.set_now(now_ms)
        acquaintance.ask(self._core, node_id)

    def is_mutual(self, node_id: str, now_ms: int) -> bool:
        """Whether a member is within reach and has shown that it knows this node, past its handshake."""
        self._core.set_now(now_ms)
        return acquaintance.is_mutual(self._core, node_id)

    @_order("CLUSTER FORGET {node_id}")
    def forget(self, node_id: str, now_ms: int) -> None:
        """CLUSTER FORGET. Raises StateError for an unknown node, this node or its primary."""
        self._core.set_now(now_ms)
        orders.forget(self._core, node_id)

    @_order("CLUSTER ADDSLOTS")
    def add_slots(self, slots: Iterable[int], now_ms: int) -> None:
        """CLUSTER ADDSLOTS: all slots or none. Raises StateError."""
        self._core.set_now(now_ms)
        observing.refuse(self._core, "owns no slots")
        orders.add_slots(self._core, slots)

    @_order("CLUSTER DELSLOTS")
    def del_slots(self, slots: Iterable[int], now_ms: int) -> None:
        """CLUSTER DELSLOTS: all slots or none. Raises StateError."""
        self._core.set_now(now_ms)
        orders.del_slots(self._core, slots)

    @_order("CLUSTER FLUSHSLOTS")
    def flush_slots(self, now_ms: int) -> None:
        """CLUSTER FLUSHSLOTS. Raises StateError if this node has keys."""
        self._core.set_now(now_ms)
        orders.flush_slots(self._core)

    @_order("CLUSTER SETSLOT {slot} MIGRATING {node_id}")
    def migrate_slot(self, slot: int, node_id: str, now_ms: int) -> None:
        """CLUSTER SETSLOT MIGRATING. Raises StateError, as the other three SETSLOTs do."""
        self._core.set_now(now_ms)
        slot_moves.migrate(self._core, slot, node_id)

    @_order("CLUSTER SETSLOT {slot} IMPORTING {node_id}")
    def import_slot(self, slot: int, node_id: str, now_ms: int) -> None:
        """CLUSTER SETSLOT IMPORTING."""
        self._core.set_now(now_ms)
        observing.refuse(self._core, "owns no slots")
        slot_moves.import_slot(self._core, slot, node_id)

    @_order("CLUSTER SETSLOT {slot} STABLE")
    def settle_slot(self, slot: int, now_ms: int) -> None:
        """CLUSTER SETSLOT STABLE."""
        self._core.set_now(now_ms)
        slot_moves.settle(self._core, slot)

    def give_up_import(self, slot: int, now_ms: int) -> None:
        """The keys of a slot that comes to us were offered, and nobody here can take them (P5)."""
        self._core.set_now(now_ms)
        slot_moves.give_up_import(self._core, slot)

    @_order("CLUSTER SETSLOT {slot} NODE {node_id}")
    def assign_slot(self, slot: int, node_id: str, now_ms: int) -> None:
        """CLUSTER SETSLOT NODE."""
        self._core.set_now(now_ms)
        if node_id == self._core.myself.node_id:
            observing.refuse(self._core, "owns no slots")
        slot_moves.assign(self._core, slot, node_id)

    @_order("CLUSTER RESET")
    def reset(self, now_ms: int, *, hard: bool = False) -> None:
        """CLUSTER RESET. Raises StateError for a primary that has keys."""
        core = self._core
        core.set_now(now_ms)
        orders.reset(core, hard=hard)
        taking.abandon(core, "reset")
        giving.abandon(core, "reset")

    @_order("CLUSTER SET-CONFIG-EPOCH {epoch}")
    def set_config_epoch(self, epoch: int, now_ms: int) -> None:
        """CLUSTER SET-CONFIG-EPOCH. Raises StateError unless this node is new and alone."""
        self._core.set_now(now_ms)
        observing.refuse(self._core, "has no config epoch")
        orders.set_config_epoch(self._core, epoch)

    @_order("CLUSTER BUMPEPOCH")
    def bump_epoch(self, now_ms: int) -> bool:
        """CLUSTER BUMPEPOCH. True if there is a new config epoch."""
        self._core.set_now(now_ms)
        observing.refuse(self._core, "has no config epoch")
        return orders.bump_epoch(self._core)

    @_order("CLUSTER REPLICATE {node_id}")
    def replicate(self, node_id: str, now_ms: int) -> None:
        """CLUSTER REPLICATE. Raises StateError for an unknown node, this one or a replica, and while we own slots or
        have keys of our own.
        """
        self._core.set_now(now_ms)
        observing.refuse(self._core, "is no replica")
        orders.replicate(self._core, node_id)

    @_order("CLUSTER REPLICATE NO ONE")
    def replicate_no_one(self, now_ms: int) -> None:
        """CLUSTER REPLICATE NO ONE: this replica becomes a primary without slots and data, in a shard of its own."""
        self._core.set_now(now_ms)
        orders.replicate_no_one(self._core)

    @_order("CLUSTER FAILOVER")
    def failover(self, now_ms: int, *, force: bool = False, takeover: bool = False) -> None:
        """CLUSTER FAILOVER [FORCE|TAKEOVER] on a replica. Except with TAKEOVER, the role changes later. Raises
        StateError.
        """
        self._core.set_now(now_ms)
        observing.refuse(self._core, "does not stand for election")
        manual_failover.order(self._core, force=force, takeover=takeover)

    def count_failure_reports(self, node_id: str, now_ms: int) -> int:
        """CLUSTER COUNT-FAILURE-REPORTS. Raises StateError for an unknown node."""
        self._core.set_now(now_ms)
        return orders.count_failure_reports(self._core, node_id)

    @_order("hand over to a replica")
    def hand_over(self, timeout_ms: int, now_ms: int) -> bool:
        """This primary is about to go: asks its best replica to take over. False if there is nobody to ask, or nothing
        to hand over; else the event HandoverEnded comes within `timeout_ms`.
        """
        self._core.set_now(now_ms)
        return handover.begin(self._core, timeout_ms)

    @_order("leave")
    def begin_leave(self, now_ms: int) -> None:
        """This node is about to leave for good: it makes no new acquaintance any more."""
        self._core.set_now(now_ms)
        leaving.begin(self._core)

    @_order("stay")
    def stay(self, now_ms: int) -> None:
        """Ends what `begin_leave` began: the node stays."""
        self._core.set_now(now_ms)
        leaving.give_up(self._core)

    def say_leave(self, node_id: str, word: leaving.Word, now_ms: int, data: bytes = b"") -> bool:
        """Says a word about our leaving to a node; False if there is no link."""
        self._core.set_now(now_ms)
        return leaving.say(self._core, node_id, word, data)

    @_order("start anew, having left")
    def start_anew(self, now_ms: int) -> None:
        """This node has left its cluster: it becomes a new one that knows nobody."""
        core = self._core
        core.set_now(now_ms)
        orders.start_anew(core)
        taking.abandon(core, "left the cluster")
        giving.abandon(core, "left the cluster")

    @_order("stay primary")
    def keep_slots(self, now_ms: int) -> None:
        """Ends what `hand_over` began: the node stays."""
        self._core.set_now(now_ms)
        handover.abort(self._core)

    @_order("take slots")
    def take_slots(self, bits: int, timeout_ms: int, now_ms: int, *, force: bool = False, votes_min: int = 1) -> int:
        """Takes the slots of a bitmap by the votes of a majority, from whomever. The returned number stands in the
        SlotOrderEnded that comes within `timeout_ms`. Raises StateError.
        """
        core = self._core
        core.set_now(now_ms)
        observing.refuse(core, "owns no slots")
        before, core.claims.votes_min = core.claims.votes_min, votes_min
        try:
            return taking.begin(core, bits, timeout_ms, force=force)
        except StateError:
            core.claims.votes_min = before
            raise

    @_order("move slots to {node_id}")
    def move_slots(self, bits: int, node_id: str, timeout_ms: int, now_ms: int) -> int:
        """Has a node of our kind take slots of ours. As `take_slots`. Raises StateError."""
        self._core.set_now(now_ms)
        return giving.begin(self._core, bits, node_id, timeout_ms)

    def check_move(self, bits: int, node_id: str) -> None:
        """Raises StateError if slots cannot move to a node: not ours, with keys, or no primary."""
        giving.check(self._core, bits, node_id)

    def call_off(self, number: int, now_ms: int) -> None:
        """Nobody waits any more for the order with that number. What it has done already stays."""
        self._core.set_now(now_ms)
        taking.call_off(self._core, number)
        giving.call_off(self._core, number)

    def say_hello(self, node_id: str, now_ms: int) -> None:
        """Asks a node whether it is of our kind: `Node.kin` is known a little later."""
        self._core.set_now(now_ms)
        node = self._core.table.find(node_id)
        if node is not None:
            electorate.write(self._core, node, Letter(Kind.HELLO, electorate.has_data(self._core)))

    def keep_leases(self, now_ms: int) -> None:
        """From now on this node keeps leases on its slots, which `holds` needs."""
        self._core.set_now(now_ms)
        self._core.claims.is_kept = True

    @property
    def keeps_leases(self) -> bool:
        return self._core.claims.is_kept

    def held_slots(self, bits: int, now_ms: int) -> int:
        """Those of some slots that are ours, and that a majority of the members gives to nobody else before `now_ms`,
        which is the present time and may be later than that of the last input.
        """
        return promises.held(self._core, bits, now_ms)

    def publish(self, channel: bytes, message: bytes, now_ms: int, *, sharded: bool = False) -> int:
        """PUBLISH to every connected node, or PUBLISHSHARD to those of our shard. Returns the number of these nodes.
        Raises StateError for a message longer than a packet may be.
        """
        self._core.set_now(now_ms)
        return pubsub.publish(self._core, channel, message, sharded=sharded)

    def send_module(self, node_id: str | None, module_id: int, module_type: int, data: bytes, now_ms: int) -> int:
        """MODULE to one node, or to every connected one if `node_id` is None. Returns the number of these nodes. Raises
        StateError for a node that is unknown or not connected, and for a message that no packet can carry.
        """
        if module_id in c.OWN_MODULE_IDS:
            raise StateError(f"the module id {module_id} is one of those that clusterbus nodes use among themselves")
        self._core.set_now(now_ms)
        return pubsub.send_module(self._core, node_id, module_id, module_type, data)

    def set_tags(self, tags: Mapping[str, str], now_ms: int) -> None:
        """Makes these the tags of this node, and tells them to the clusterbus nodes. Raises StateError if they take
        more than `tags.TAGS_LEN_MAX_BYTES`.
        """
        self._core.set_now(now_ms)
        observing.refuse(self._core, "tells nobody its tags")
        own_tags.set_own(self._core, tags)

    # ------------------------------------------------------------ outputs

    def poll_effects(self) -> list[Effect]:
        """The effects of the inputs since the last call, in order.

        If one of them asked for it, the cluster's state is evaluated first, and the last effect saves nodes.conf.
        """
        core = self._core
        if core.wants_state_update:
            health.update(core)
        promises.follow_slots(core)
        effects = core.take_effects()
        if core.wants_save:
            effects.append(Save(durable=core.wants_durable_save))
            core.wants_sync = core.wants_sync and not core.wants_durable_save
            core.wants_save = core.wants_durable_save = False
        core.history.settle()
        return effects

    @property
    def history(self) -> History:
        """The last changes. For reading, but for `clear`, and `client` while a client's command is carried out."""
        return self._core.history

    @property
    def version(self) -> int:
        """Changes with everything that decides what a peer's heartbeat changes, or what ours say."""
        return self._core.version.number

    @property
    def own_header_version(self) -> int:
        """Changes with what our heartbeats say of ourselves. While it stays the same, an older view may encode them."""
        return self._core.version.own_header

    @property
    def own_claims(self) -> OwnClaims:
        """What our messages claim for us."""
        myself, speaker = self._core.myself, self._core.myself.primary
        followed = myself.replicaof.node_id if myself.replicaof is not None else None
        epoch = self._core.current_epoch
        return OwnClaims(myself.node_id, myself.flags, followed, epoch, speaker.config_epoch, speaker.slots)

    def view(self) -> View | None:
        """The view of the present `version`, to compare and encode heartbeats with; None if our address is unknown."""
        return quiet.view(self._core)

    def heartbeat(self, link: int, kind: int) -> Heartbeat | None:
        """A PING or PONG for the node of a link, from the state as it is now; None if the link is gone."""
        found = self._core.links.get(link)
        return heartbeat.build(self._core, found.node, kind) if found is not None else None

    def nodes_conf_text(self) -> str:
        """The text of nodes.conf for the state as it is now."""
        return persist.nodes_conf_text(self._core)

    # ------------------------------------------------------------ reading

    @property
    def myself(self) -> Node:
        """This node. For reading, like every node returned here."""
        return self._core.myself

    @property
    def nodes(self) -> Iterable[Node]:
        """All nodes: this one first, and also those in handshake."""
        return self._core.table

    @property
    def known_nodes_count(self) -> int:
        return len(self._core.table)

    @property
    def handshakes_count(self) -> int:
        """How many of the known nodes are in handshake."""
        return len(self._core.table.handshakes)

    def find(self, node_id: str) -> Node | None:
        """The node with that id."""
        return self._core.table.find(node_id)

    @property
    def links(self) -> Iterable[Link]:
        """All links that are up, also those whose peer is not known."""
        return list(self._core.links.values())

    def is_of_node(self, link: int) -> bool:
        """Whether a link is that of a node; not so an inbound one before its first packet of a known node."""
        found = self._core.links.get(link)
        return found is not None and found.node is not None

    @property
    def slot_owners(self) -> Iterable[Node]:
        """The nodes that own slots (`Node.slot_bits`)."""
        return list(self._core.slots.owners.values())

    @property
    def assigned_slots(self) -> int:
        """The slots that have an owner, as a bitmap."""
        return self._core.slots.assigned

    def owners_of(self, bits: int) -> list[Node]:
        """The owners of these slots, each once."""
        return self._core.slots.owners_of(bits)

    def owner_of(self, slot: int) -> Node | None:
        """The owner of a slot."""
        return self._core.slots.owner_of(slot)

    def claimed_owner_of(self, slot: int) -> Node | None:
        """The owner of a slot, None also if it has stopped to claim it."""
        slots = self._core.slots
        return None if slots.not_claimed >> slot & 1 else slots.owner_of(slot)

    def migrating_to(self, slot: int) -> Node | None:
        """The node to which this one migrates a slot."""
        return self._core.slots.migrating.get(slot)

    def importing_from(self, slot: int) -> Node | None:
        """The node from which this one imports a slot."""
        return self._core.slots.importing.get(slot)

    @property
    def open_slots(self) -> tuple[Mapping[int, Node], Mapping[int, Node]]:
        """The slots that this node migrates and those that it imports, each with the other node."""
        return self._core.slots.migrating, self._core.slots.importing

    @property
    def open_slots_by_node(self) -> tuple[dict[Node, int], dict[Node, int]]:
        """The same as bitmaps, by the other node."""
        migrating, importing = self._core.slots.migrating, self._core.slots.importing
        return (
            {node: migrating.with_node(node) for node in migrating.nodes()},
            {node: importing.with_node(node) for node in importing.nodes()},
        )

    @property
    def is_ok(self) -> bool:
        """Whether the state of the cluster is ok (and not fail)."""
        return self._core.state_is_ok

    @property
    def switches(self) -> Switches:
        """What DEBUG turns off, for tests (P31)."""
        return self._core.switches

    @property
    def reason(self) -> StateReason:
        """Why the state of the cluster is fail; NONE while it is ok (P42)."""
        return self._core.state_reason

    @property
    def census(self) -> reachability.Census:
        """How many members this node reaches, and how many it knows; itself is among both, unless it observes."""
        return reachability.census(self._core)

    @property
    def leave_answers(self) -> Mapping[str, LeaveAnswer]:
        """What nodes of our kind have said last about our leaving."""
        return self._core.leave.answers

    @property
    def handshake_timeout_ms(self) -> int:
        """How long a handshake may take."""
        return self._core.handshake_timeout_ms

    @property
    def current_epoch(self) -> int:
        return self._core.current_epoch

    @property
    def repl_offset(self) -> int:
        """This node's replication offset, as its headers announce it."""
        return self._core.repl_offset

    @property
    def is_failing_over(self) -> bool:
        """Whether a manual failover is under way that this node takes part in."""
        return self._core.manual.end_ms is not None

    @property
    def is_replicating(self) -> bool:
        """Whether this node is a replica that has data of its primary and hears from it."""
        return replication.is_up(self._core)

    def silence_ms(self, node: Node) -> int:
        """Milliseconds since any bytes were read from a node."""
        return links.silence_ms(self._core, node)

    @property
    def counters(self) -> Counter[str]:
        """Messages by type and direction (`messages_ping_sent`), refusals by reason (`refused_own_id`)."""
        return self._core.counters

    # ------------------------------------------------------------ answers of CLUSTER

    def nodes_text(self, *, tls: bool = False, ipv6: bool = False) -> str:
        """CLUSTER NODES, for a client that uses TLS or not, IPv6 or not."""
        return describe.nodes_text(self._core, tls=tls, ipv6=ipv6)

    def node_line(self, node: Node, *, tls: bool = False, ipv6: bool = False) -> str:
        """One line of CLUSTER NODES and CLUSTER REPLICAS."""
        return describe.node_line(self._core, node, tls=tls, ipv6=ipv6)

    def info_lines(self, engine_counters: Mapping[str, int]) -> Iterator[tuple[str, str | int]]:
        """The names and values of CLUSTER INFO. `engine_counters` has the names of `describe.BYTE_COUNTERS`."""
        return describe.info_lines(self._core, engine_counters)

    def slot_ranges(self, *, tls: bool = False, ipv6: bool = False) -> list[describe.SlotRange]:
        """CLUSTER SLOTS."""
        return describe.slot_ranges(self._core, tls=tls, ipv6=ipv6)

    def shards(self, *, ipv6: bool = False) -> list[describe.Shard]:
        """CLUSTER SHARDS."""
        return describe.shards(self._core, ipv6=ipv6)
