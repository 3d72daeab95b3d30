"""`ClusterState`: the protocol core as one object; inputs in, effects out.

Owns the order in which an input is applied and settled, and the list of inputs. The rules are in the modules
by topic (`receive`, `cron`, `links`, `orders`, ...). Must never do what an effect asks for. Main loop only.

Every input takes `now_ms`, unix milliseconds of a timeline that never jumps, and may be followed by effects,
which `poll_effects` hands out in order. Nothing a peer sends raises; an operator's mistake raises StateError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random

from clusterbus.cluster import constants as c
from clusterbus.cluster import cron, pubsub, receive
from clusterbus.cluster.core import ClusterConfig, Core
from clusterbus.cluster.effects import Effect, Save
from clusterbus.cluster.failover import health, manual_failover
from clusterbus.cluster.heartbeats import heartbeat, quiet
from clusterbus.cluster.membership import links
from clusterbus.cluster.membership.myself import refresh_myself
from clusterbus.cluster.model.node import Link, Node
from clusterbus.cluster.model.records import NodesConf
from clusterbus.cluster.operator import describe, orders, persist, slot_moves
from clusterbus.data_plane import DataPlane
from clusterbus.view import View
from clusterbus.wire import Heartbeat, Packet


class ClusterState:
    """One member of a cluster.

    `config` is read at the time of use. `random` is the only source of randomness. `read_age_ms(link)` is
    the milliseconds since bytes were last read on a link, None before the first (R23). `saved` is a parsed
    nodes.conf, whose own id and epochs this node takes up; without it the node is new, a primary with no
    slots, under `node_id` or a random id. `data_plane` answers how far replication is and which keys a slot has, and
    must not raise anything but StateError; without one there is no data.
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
            node_id = f"{random.getrandbits(160):040x}"
        shard_id = f"{random.getrandbits(160):040x}"
        myself = Node(node_id, c.FLAG_PRIMARY | c.FLAG_MYSELF, shard_id, now_ms)
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
        refresh_myself(self._core)

    # ------------------------------------------------------------ inputs: links

    def handle_link_opened(self, node_id: str, link: int, local_ip: str, now_ms: int) -> None:
        """The answer to a Dial: the link to that node is up; `local_ip` is our end of it."""
        self._core.set_now(now_ms)
        links.opened(self._core, node_id, link, local_ip)

    def handle_dial_failed(self, node_id: str, error: str, now_ms: int) -> None:
        """The other answer to a Dial."""
        self._core.set_now(now_ms)
        links.dial_failed(self._core, node_id, error)

    def handle_link_accepted(self, link: int, ip: str, local_ip: str, now_ms: int) -> None:
        """A peer at `ip` dialled us."""
        self._core.set_now(now_ms)
        links.accepted(self._core, link, ip, local_ip)

    def handle_packet(self, link: int, packet: Packet, now_ms: int) -> None:
        """A whole packet came on a link. Ignored when the link is not known (any more)."""
        core = self._core
        core.set_now(now_ms)
        found = core.links.get(link)
        if found is not None:
            receive.handle(core, found, packet)

    def handle_quiet(self, pings: int, answered: int, pongs: list[int], now_ms: int) -> None:
        """Heartbeats that are quiet to `view` of this `version` (R33): so many PINGs, of which the caller has answered
        so many, and PONGs on these links.
        """
        self._core.set_now(now_ms)
        quiet.take(self._core, pings, answered, pongs)

    def handle_link_closed(self, link: int, reason: str, now_ms: int) -> None:
        """A link is gone, and not by our CloseLink."""
        self._core.set_now(now_ms)
        links.closed(self._core, link, reason)

    def tick(self, now_ms: int) -> None:
        """Ten times a second."""
        self._core.set_now(now_ms)
        self._ticks += 1
        cron.tick(self._core, self._ticks)

    # ------------------------------------------------------------ inputs: operator

    def meet(self, ip: str, port: int, cport: int | None, now_ms: int) -> None:
        """CLUSTER MEET; `cport` None is `port` + 10000. Raises StateError for an address that is none."""
        self._core.set_now(now_ms)
        orders.meet(self._core, ip, port, cport)

    def forget(self, node_id: str, now_ms: int) -> None:
        """CLUSTER FORGET. Raises StateError for an unknown node, this node or its primary."""
        self._core.set_now(now_ms)
        orders.forget(self._core, node_id)

    def add_slots(self, slots: Iterable[int], now_ms: int) -> None:
        """CLUSTER ADDSLOTS: all or, with StateError, none."""
        self._core.set_now(now_ms)
        orders.add_slots(self._core, slots)

    def del_slots(self, slots: Iterable[int], now_ms: int) -> None:
        """CLUSTER DELSLOTS: all or, with StateError, none."""
        self._core.set_now(now_ms)
        orders.del_slots(self._core, slots)

    def flush_slots(self, now_ms: int) -> None:
        """CLUSTER FLUSHSLOTS."""
        self._core.set_now(now_ms)
        orders.flush_slots(self._core)

    def migrate_slot(self, slot: int, node_id: str, now_ms: int) -> None:
        """CLUSTER SETSLOT MIGRATING. Raises StateError, as the other three."""
        self._core.set_now(now_ms)
        slot_moves.migrate(self._core, slot, node_id)

    def import_slot(self, slot: int, node_id: str, now_ms: int) -> None:
        """CLUSTER SETSLOT IMPORTING."""
        self._core.set_now(now_ms)
        slot_moves.import_slot(self._core, slot, node_id)

    def settle_slot(self, slot: int, now_ms: int) -> None:
        """CLUSTER SETSLOT STABLE."""
        self._core.set_now(now_ms)
        slot_moves.stay(self._core, slot)

    def assign_slot(self, slot: int, node_id: str, now_ms: int) -> None:
        """CLUSTER SETSLOT NODE."""
        self._core.set_now(now_ms)
        slot_moves.assign(self._core, slot, node_id)

    def reset(self, now_ms: int, *, hard: bool = False) -> None:
        """CLUSTER RESET. Raises StateError for a primary that has keys."""
        self._core.set_now(now_ms)
        orders.reset(self._core, hard=hard)

    def set_config_epoch(self, epoch: int, now_ms: int) -> None:
        """CLUSTER SET-CONFIG-EPOCH. Raises StateError unless this node is new and alone."""
        self._core.set_now(now_ms)
        orders.set_config_epoch(self._core, epoch)

    def bump_epoch(self, now_ms: int) -> bool:
        """CLUSTER BUMPEPOCH: whether there is a new config epoch."""
        self._core.set_now(now_ms)
        return orders.bump_epoch(self._core)

    def replicate(self, node_id: str, now_ms: int) -> None:
        """CLUSTER REPLICATE. Raises StateError for an unknown node, this one, a replica, or while we own slots."""
        self._core.set_now(now_ms)
        orders.replicate(self._core, node_id)

    def failover(self, now_ms: int, *, force: bool = False, takeover: bool = False) -> None:
        """CLUSTER FAILOVER [FORCE|TAKEOVER] on a replica; the role changes later. Raises StateError."""
        self._core.set_now(now_ms)
        manual_failover.order(self._core, force=force, takeover=takeover)

    def count_failure_reports(self, node_id: str, now_ms: int) -> int:
        """CLUSTER COUNT-FAILURE-REPORTS. Raises StateError for an unknown node."""
        self._core.set_now(now_ms)
        return orders.count_failure_reports(self._core, node_id)

    def publish(self, channel: bytes, message: bytes, now_ms: int, *, sharded: bool = False) -> int:
        """PUBLISH to every connected node, or PUBLISHSHARD to those of our shard; how many nodes those are.
        Raises StateError for a message longer than a packet may be."""
        self._core.set_now(now_ms)
        return pubsub.publish(self._core, channel, message, sharded=sharded)

    def send_module(self, node_id: str | None, module_id: int, module_type: int, data: bytes, now_ms: int) -> int:
        """MODULE to one node, or for None to every connected one; how many those are. Raises StateError for a
        node that is unknown or not connected, and for what no packet can carry."""
        self._core.set_now(now_ms)
        return pubsub.send_module(self._core, node_id, module_id, module_type, data)

    # ------------------------------------------------------------ outputs

    def poll_effects(self) -> list[Effect]:
        """What the inputs since the last call ask for, in order; then they are settled: a change of the
        cluster's state is told, and nodes.conf is saved when anything in it changed.
        """
        core = self._core
        if core.wants_state_update:
            health.update(core)
        effects = core.take_effects()
        if core.wants_save:
            effects.append(Save(durable=core.wants_durable_save))
            core.wants_save = core.wants_durable_save = False
        return effects

    @property
    def version(self) -> int:
        """Changes with everything that decides what a heartbeat changes, or what ours say."""
        return self._core.version.number

    @property
    def own_header_version(self) -> int:
        """Changes with what our heartbeats say of ourselves: while it lasts an older view will do to encode them."""
        return self._core.version.own_header

    def view(self) -> View | None:
        """What heartbeats are compared with and encoded from while `version` lasts; None when there is none
        to be had."""
        return quiet.view(self._core)

    def heartbeat(self, link: int, kind: int) -> Heartbeat | None:
        """A PING or PONG for the node of a link as of now; None when the link is gone."""
        found = self._core.links.get(link)
        return heartbeat.build(self._core, found.node, kind) if found is not None else None

    def nodes_conf_text(self) -> str:
        """The text of nodes.conf as of now."""
        return persist.nodes_conf_text(self._core)

    # ------------------------------------------------------------ what may be read

    @property
    def myself(self) -> Node:
        """This node. Like every node handed out here: for reading."""
        return self._core.myself

    @property
    def nodes(self) -> Iterable[Node]:
        """All nodes, this one first, those in handshake included."""
        return self._core.table

    @property
    def known_nodes_count(self) -> int:
        return len(self._core.table)

    def find(self, node_id: str) -> Node | None:
        """The node of that id."""
        return self._core.table.find(node_id)

    @property
    def links(self) -> Iterable[Link]:
        """All links that are up, those of nobody known included."""
        return list(self._core.links.values())

    @property
    def slot_owners(self) -> Iterable[Node]:
        """The nodes that own slots (`Node.slot_bits`)."""
        return list(self._core.slots.owners.values())

    @property
    def assigned_slots(self) -> int:
        """The slots that have an owner, as a bitmap."""
        return self._core.slots.assigned

    def owner_of(self, slot: int) -> Node | None:
        """Who owns a slot."""
        return self._core.slots.owner_of(slot)

    def migrating_to(self, slot: int) -> Node | None:
        """The node this one migrates a slot to."""
        return self._core.slots.migrating.get(slot)

    def importing_from(self, slot: int) -> Node | None:
        """The node this one imports a slot from."""
        return self._core.slots.importing.get(slot)

    @property
    def is_ok(self) -> bool:
        """Whether the cluster's state is ok, not fail."""
        return self._core.state_is_ok

    @property
    def current_epoch(self) -> int:
        return self._core.current_epoch

    @property
    def repl_offset(self) -> int:
        """How far this node's data is, as its headers say."""
        return self._core.repl_offset

    def silence_ms(self, node: Node) -> int:
        """Milliseconds since anything at all was read from a node."""
        return links.silence_ms(self._core, node)

    @property
    def counters(self) -> Counter[str]:
        """Messages by type and direction (`messages_ping_sent`), refusals by reason (`refused_own_id`)."""
        return self._core.counters

    # ------------------------------------------------------------ as CLUSTER's answers

    def nodes_text(self, *, tls: bool = False, ipv6: bool = False) -> str:
        """CLUSTER NODES for a client over TLS or not, IPv6 or not."""
        return describe.nodes_text(self._core, tls=tls, ipv6=ipv6)

    def node_line(self, node: Node, *, tls: bool = False, ipv6: bool = False) -> str:
        """One line of CLUSTER NODES and CLUSTER REPLICAS."""
        return describe.node_line(self._core, node, tls=tls, ipv6=ipv6)

    def info_lines(self, engine_counters: Mapping[str, int]) -> Iterator[tuple[str, str | int]]:
        """Names and values of CLUSTER INFO; `engine_counters` by the names of `describe.BYTE_COUNTERS`."""
        return describe.info_lines(self._core, engine_counters)

    def slot_ranges(self, *, tls: bool = False, ipv6: bool = False) -> list[describe.SlotRange]:
        """CLUSTER SLOTS."""
        return describe.slot_ranges(self._core, tls=tls, ipv6=ipv6)

    def shards(self, *, ipv6: bool = False) -> list[describe.Shard]:
        """CLUSTER SHARDS."""
        return describe.shards(self._core, ipv6=ipv6)
