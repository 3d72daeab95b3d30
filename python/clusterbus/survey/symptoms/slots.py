"""What is owned by whom.

Owns when a slot counts as without owner or open. Plain functions, any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_

from clusterbus.cluster import constants as c
from clusterbus.survey.asking import Answer
from clusterbus.survey.evidence import Evidence, addresses, slots_text
from clusterbus.survey.finding import Finding, Kind
from clusterbus.survey.node_rows import NodeRow

ALL_SLOTS = (1 << c.SLOTS) - 1


def unowned_slots(evidence: Evidence) -> Iterator[Finding]:
    """Slots that have no owner in the view of one node or more. A cluster in which nobody owns any is one of members
    without data, and that is well.
    """
    missing: dict[int, list[Answer]] = {}
    for group in evidence.views:
        owned = reduce(or_, (row.slot_bits for row in group.answers[0].nodes), 0)
        missing.setdefault(ALL_SLOTS & ~owned, []).extend(group.answers)
    if {*missing} == {ALL_SLOTS}:
        what = "nobody owns slots: a cluster of members without data"
        yield Finding(Kind.NO_SLOTS, "", what, addresses(missing[ALL_SLOTS]))
        return
    for bits, answers in missing.items():
        if bits:
            number = bits.bit_count()
            what = f"{slots_text(bits)} {'has' if number == 1 else 'have'} no owner ({number} of {c.SLOTS})"
            cure = f"redis-cli --cluster fix {answers[0].address}, or CLUSTER ADDSLOTS at the primary that is to own it"
            yield Finding(Kind.UNOWNED_SLOTS, slots_text(bits), what, addresses(answers), cure)


def open_slots(evidence: Evidence) -> Iterator[Finding]:
    """Slots that are being moved, or were when somebody stopped."""
    moves: dict[tuple[str, str], dict[str, set[int]]] = {}
    for node_id, answer in evidence.members.items():
        if answer.myself is None:
            continue
        shard = (answer.myself.is_replica and answer.myself.primary_id) or node_id  # from Valkey 8, replicas know too
        for slot, target in answer.myself.migrating:
            moves.setdefault((shard, target), {}).setdefault(node_id, set()).add(slot)
        for slot, source in answer.myself.importing:
            moves.setdefault((source, shard), {}).setdefault(node_id, set()).add(slot)
    for (source, target), known in sorted(moves.items()):
        bits = reduce(or_, (1 << slot for slots in known.values() for slot in slots))
        ends = [name for name, end in (("the source", source), ("the target", target)) if end in known]
        half = "" if known.get(source) == known.get(target) else f"; only {' and '.join(ends) or 'a replica'} has "
        half += ("it" if bits.bit_count() == 1 else "all of them") if half else ""
        what = f"{slots_text(bits)} open, on the way from {evidence.name(source)} to {evidence.name(target)}{half}"
        said_by = tuple(evidence.members[node_id].address for node_id in known)
        cure = f"if no reshard is under way: redis-cli --cluster fix {said_by[0]}, or there CLUSTER SETSLOT ... STABLE"
        yield Finding(Kind.OPEN_SLOTS, f"{source} {target}", what, said_by, cure, (source, target))


def shared_epochs(evidence: Evidence) -> Iterator[Finding]:
    """Primaries with slots that share a config epoch, so that neither wins where they claim the same slot."""
    by_epoch: dict[int, list[str]] = {}
    for node_id, answer in evidence.members.items():
        own: NodeRow | None = answer.myself
        if own is not None and own.is_primary and own.slot_bits:
            by_epoch.setdefault(own.config_epoch, []).append(node_id)
    for epoch, ids in by_epoch.items():
        if len(ids) > 1:
            what = f"{len(ids)} primaries with slots share config epoch {epoch}: {', '.join(map(evidence.name, ids))}"
            said_by = tuple(evidence.members[node_id].address for node_id in ids)
            cure = f"it settles when they hear each other; else CLUSTER BUMPEPOCH at {said_by[0]}"
            yield Finding(Kind.EPOCH_SHARED, f"{epoch}", what, said_by, cure, tuple(ids))


def views_differ(evidence: Evidence) -> Iterator[Finding]:
    """Nodes whose tables say other things about slots, roles or epochs than those of most."""
    for group in evidence.views[1:]:
        what = f"for {len(group.answers)} of {len(evidence.members)} nodes {'; '.join(group.differences)}"
        cure = "what else is found says why; what remains settles by gossip within a few node timeouts"
        subject = " ".join(sorted(answer.node_id for answer in group.answers))
        yield Finding(Kind.VIEWS_DIFFER, subject, what, group.addresses, cure)  # whoever it is, it is the same trouble


def failing_states(evidence: Evidence) -> Iterator[Finding]:
    """Nodes that refuse commands on keys, as they hold the cluster failed."""
    failing = [
        answer
        for answer in evidence.members.values()
        if answer.cluster_info.get("cluster_state", "ok") != "ok" and any(row.slot_bits for row in answer.nodes)
    ]
    if failing:
        what = f"cluster_state is fail on {len(failing)} of {len(evidence.members)} nodes"
        cure = "a piece without the majority, or slots without an owner that lives: what else is found says which"
        yield Finding(Kind.STATE_FAIL, "", what, addresses(failing), cure)
