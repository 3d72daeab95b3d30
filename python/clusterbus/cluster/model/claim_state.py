"""What a node remembers of slots that it takes or gives away, and of leases: `Wish`, `Gift`, `Promise`, `Claims`.

Owns the fields alone; the rules are in `claims`. Plain data. `Core` has one `Claims`. Main thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clusterbus.cluster.model.node import Node


@dataclass(slots=True)
class Wish:
    """Slots that this node is to take, `bits`, until `end_ms`.

    `owners` had them when the order came, by id; a slot that goes to anybody else meanwhile ends the wish. `living` are
    those whose owner was alive then, and is to lose them all the same. `orderer` is the node that gave us the slots, by
    its order `number`; "" if our own program asked. `epoch` is that of the round under way, 0 between two rounds; then
    these count: `voters`, `denials` (id -> why not), `members` and `needed`, of how many and how many votes.
    `round_ms` is when the round ends, or the next one begins. `is_taken`: the slots are ours, and the lease is awaited.
    """

    number: int
    bits: int
    end_ms: int
    owners: dict[str, int]
    living: int = 0
    force: bool = False
    orderer: str = ""
    epoch: int = 0
    members: int = 0
    needed: int = 0
    round_ms: int = 0
    voters: set[str] = field(default_factory=set)
    denials: dict[str, str] = field(default_factory=dict)
    is_taken: bool = False


@dataclass(frozen=True, slots=True)
class Gift:
    """Slots of ours that `heir` was told to take, by `end_ms`."""

    bits: int
    heir: Node
    end_ms: int


@dataclass(frozen=True, slots=True)
class Promise:
    """Until then nobody else gets these slots of the voter."""

    bits: int
    until_ms: int
    number: int = 0


class Claims:
    """Orders about slots, and leases.

    `is_kept`: this node keeps leases on its slots. `votes_min`: it takes and holds none with fewer votes than that.
    `wishes` are carried out one after another; `gifts` are by number. As a holder: `told_bits` are the slots that it
    asked promises for last, at `renewed_ms`; `renewals` are the last requests, number -> (time, slots); `grants` what
    others promised it. As a voter: `promises` are what it promised others, both by node id; before `blind_until_ms` it
    promises nothing and votes for nobody, because it may have promised something before its restart.
    """

    def __init__(self) -> None:
        self.orders_begun = 0
        self.is_kept = False
        self.votes_min = 1
        self.wishes: list[Wish] = []
        self.gifts: dict[int, Gift] = {}
        self.told_bits = 0
        self.renewed_ms = 0
        self.renewals_begun = 0
        self.renewals: dict[int, tuple[int, int]] = {}
        self.grants: dict[str, Promise] = {}
        self.promises: dict[str, Promise] = {}
        self.blind_until_ms = 0
        self.awaits_kin = False
        """A node whose kind is not known was sent a letter."""
        self.has_data: tuple[int, bool] | None = None
        """When we looked last whether there are keys here, and what we found."""

    def next_number(self) -> int:
        self.orders_begun += 1
        return self.orders_begun
