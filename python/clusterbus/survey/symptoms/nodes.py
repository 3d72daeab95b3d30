"""Who is there, as what, and where.

Owns what a phantom is, when two primaries are one too many, and when an address is stale. Plain functions, any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from clusterbus.survey.asking import Answer
from clusterbus.survey.evidence import Evidence, addresses, slots_text
from clusterbus.survey.finding import Finding, Kind
from clusterbus.survey.node_rows import NodeRow

NAMES_SHOWN_MAX: Final = 6


def phantom_primaries(evidence: Evidence) -> Iterator[Finding]:
    """Nodes that others hold primary while they are gone for good, or say that they are replicas.

    A node is gone for good if it answers nowhere and, of the rows that call it a primary, one has no address for it or
    has one at which another id answers; or if it answers nowhere, no asked node has a link to it, and still it is held
    well. One that is held failed and may come back is a failed node (`failed_nodes`), no phantom.
    """
    for node_id in evidence.tellings:
        own = evidence.members.get(node_id)
        if own is not None and (own.myself is None or not own.myself.is_replica):
            continue
        held = evidence.by_others(node_id, lambda row: row.is_primary)
        if own is not None and own.myself is not None:
            reason = f"says that it is a replica of {evidence.name(own.myself.primary_id or '?')}"
            cure = f"on those nodes: CLUSTER FORGET {node_id}; then there: CLUSTER MEET {_words(own.address)}"
        else:
            reason, held = _gone(evidence, node_id, held)
            cure = (
                f"redis-cli --cluster call {_seed(evidence)} CLUSTER FORGET {node_id}"
                " (all within a minute; if it owns slots, CLUSTER FAILOVER TAKEOVER at a replica of it before)"
            )
        if held:
            bits = max((row.slot_bits for row, _ in held), key=int.bit_count)
            slots = f" of {slots_text(bits)}" if bits else ""
            what = f"{evidence.name(node_id)} is held a primary{slots}, and {reason}"
            said_by = addresses(answer for _, answer in held)
            yield Finding(Kind.PHANTOM_PRIMARY, node_id, what, said_by, cure, (node_id,))


def _gone(
    evidence: Evidence, node_id: str, held: list[tuple[NodeRow, Answer]]
) -> tuple[str, list[tuple[NodeRow, Answer]]]:
    """Why a node that answers nowhere is gone for good, and who holds it primary all the same; ("", []) if it is not
    that certain.
    """
    if node_id in evidence.addresses_of or not held:
        return "", []
    replaced = [row.address for row, _ in held if _other_at(evidence, row)]
    if replaced:
        other = evidence.survey.by_address[replaced[0]].node_id
        return f"at {replaced[0]} another node answers, {other[:8]}", held
    if any(not row.has_address for row, _ in held):
        return "has no address and answers nowhere", held
    well = [(row, answer) for row, answer in held if not row.is_failed and not row.is_suspected]
    is_linked = any(telling.row.is_connected for telling in evidence.tellings[node_id])
    return ("answers nowhere, and nobody has a link to it", well) if well and not is_linked else ("", [])


def _other_at(evidence: Evidence, row: NodeRow) -> bool:
    """Whether another node answers at the address of a row."""
    if not row.has_address:
        return False
    there = evidence.survey.by_address.get(row.address)
    return there is not None and bool(there.node_id) and there.node_id != row.node_id


def two_primaries(evidence: Evidence) -> Iterator[Finding]:
    """Nodes that each say that they are a primary, and are of one shard by its id or own the same slots."""
    primaries = {node_id: own for node_id, answer in evidence.members.items() if (own := _own_primary(answer))}
    groups: dict[str, list[str]] = {}
    for node_id in primaries:
        shard_id = evidence.members[node_id].shard_id
        if shard_id:
            groups.setdefault(shard_id, []).append(node_id)
    found = {tuple(sorted(group)) for group in groups.values() if len(group) > 1}
    owned = 0
    for node_id, own in primaries.items():
        if owned & own.slot_bits:
            found |= {
                tuple(sorted((node_id, other)))
                for other, row in primaries.items()
                if other != node_id and row.slot_bits & own.slot_bits
            }
        owned |= own.slot_bits
    for group in sorted(found):
        if any(group != wider and {*group} <= {*wider} for wider in found):
            continue
        ordered = sorted(group, key=lambda node_id: (-primaries[node_id].config_epoch, -primaries[node_id].slot_bits))
        winner, *others = ordered
        both = [f"{evidence.name(node_id)} with {_holds(primaries[node_id])}" for node_id in ordered]
        what = f"one shard has {len(group)} primaries: {'; '.join(both)}"
        where = ", ".join(evidence.members[node_id].address for node_id in others)
        cure = f"at {where}, if its data is not wanted: CLUSTER REPLICATE {winner}"
        said_by = tuple(evidence.members[node_id].address for node_id in ordered)
        yield Finding(Kind.TWO_PRIMARIES, " ".join(group), what, said_by, cure, tuple(ordered))


def _own_primary(answer: Answer) -> NodeRow | None:
    return answer.myself if answer.myself is not None and answer.myself.is_primary else None


def _holds(row: NodeRow) -> str:
    return f"{slots_text(row.slot_bits) if row.slot_bits else 'no slots'}, epoch {row.config_epoch}"


def stale_addresses(evidence: Evidence) -> Iterator[Finding]:
    """Addresses in tables at which another id answers, or nobody while the node answers elsewhere.

    An address that the node itself announces and at which nobody answers is not stale: `not_asked` says so.
    """
    phantoms = {finding.subject for finding in phantom_primaries(evidence)}
    for node_id, tellings in evidence.tellings.items():
        own = evidence.members.get(node_id)
        announced = own.myself.address if own is not None and own.myself is not None else ""
        for address in dict.fromkeys(telling.row.address for telling in tellings if telling.row.has_address):
            there = evidence.survey.by_address.get(address)
            here = evidence.addresses_of.get(node_id, [])
            if there is None or there.node_id == node_id or node_id in phantoms:
                continue
            if address == announced and not there.node_id:
                continue
            if not here and evidence.by_others(node_id, _is_failing):
                continue  # a failed node, which says so too
            said_by = [answer for _, answer in evidence.by_others(node_id, partial(_is_at, address))]
            if not said_by or not (there.node_id or here):
                continue
            who = f"{there.node_id[:8]} answers there" if there.node_id else f"nobody answers there ({there.error})"
            elsewhere = f", and it answers at {here[0]}" if here else ", and it answers nowhere"
            what = f"{node_id[:8]} is said to be at {address}: {who}{elsewhere}"
            cure = (
                f"at {here[0]}: CLUSTER MEET {_words(said_by[0].address)}, so that its packets say where it is"
                if here
                else f"redis-cli --cluster call {_seed(evidence)} CLUSTER FORGET {node_id} (all within a minute)"
            )
            yield Finding(Kind.STALE_ADDRESS, f"{node_id} {address}", what, addresses(said_by), cure, (node_id,))


def _is_at(address: str, row: NodeRow) -> bool:
    return row.has_address and row.address == address


def failed_nodes(evidence: Evidence) -> Iterator[Finding]:
    """Nodes that are held failed or suspected, and do not answer here either."""
    phantoms = {finding.subject for finding in phantom_primaries(evidence)}
    for node_id in evidence.tellings.keys() - evidence.addresses_of.keys() - phantoms:
        held = evidence.by_others(node_id, _is_failing)
        if held:
            bits = max((row.slot_bits for row, _ in held), key=int.bit_count)
            slots = f"; it owns {slots_text(bits)}" if bits else ""
            replaced = next((row.address for row, _ in held if _other_at(evidence, row)), "")
            other = f"; at {replaced} another node answers" if replaced else ""
            what = f"{evidence.name(node_id)} does not answer, and is held {_how(row for row, _ in held)}{slots}{other}"
            cure = f"start it again, or for good: redis-cli --cluster call {_seed(evidence)} CLUSTER FORGET {node_id}"
            said_by = addresses(answer for _, answer in held)
            yield Finding(Kind.FAILED_NODE, node_id, what, said_by, cure, (node_id,))


def failed_but_answering(evidence: Evidence) -> Iterator[Finding]:
    """Nodes that are held failed or suspected, and answer here. Those that the same nodes hold so are one finding."""
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for node_id in evidence.tellings.keys() & evidence.addresses_of.keys():
        held = evidence.by_others(node_id, _is_failing)
        if held:
            said_by = tuple(sorted(addresses(answer for _, answer in held)))
            groups.setdefault((_how(row for row, _ in held), said_by), []).append(node_id)
    for (how, said_by), ids in sorted(groups.items()):
        ids.sort()
        names = ", ".join(map(evidence.name, ids[:NAMES_SHOWN_MAX]))
        rest = f" and {len(ids) - NAMES_SHOWN_MAX} more" if len(ids) > NAMES_SHOWN_MAX else ""
        what = f"{names}{rest} {'answers' if len(ids) == 1 else 'answer'} here, held {how}"
        cure = (
            "see that those nodes reach its bus port and it reaches theirs, and that its process is not stalled;"
            " one that just came back is cleared by itself"
        )
        subject = f"{' '.join(ids)} {how}"
        yield Finding(Kind.FAILED_BUT_ANSWERS, subject, what, said_by, cure, tuple(ids))


def _is_failing(row: NodeRow) -> bool:
    return row.is_failed or row.is_suspected


def _how(rows: Iterable[NodeRow]) -> str:
    return "failed (FAIL)" if any(row.is_failed for row in rows) else "suspected (PFAIL)"


def not_asked(evidence: Evidence) -> Iterator[Finding]:
    """Addresses at which nobody gave a node table, and no other finding says why."""
    told = {finding.subject for check in (phantom_primaries, failed_nodes) for finding in check(evidence)}
    stale = {finding.subject for finding in stale_addresses(evidence)}
    said_at: dict[str, dict[str, list[Answer]]] = {}
    for node_id, tellings in evidence.tellings.items():
        for telling in tellings:
            if telling.row.has_address:
                said_at.setdefault(telling.row.address, {}).setdefault(node_id, []).extend(telling.answers)
    for answer in evidence.survey.unheard:
        ids = said_at.get(answer.address, {})
        if ids and all(node_id in told or f"{node_id} {answer.address}" in stale for node_id in ids):
            continue
        who = "".join(f" ({node_id[:8]}{_elsewhere(evidence, node_id)})" for node_id in ids)
        said_by = addresses(answer for answers in ids.values() for answer in answers)
        what = f"{answer.address}{who} could not be asked: {answer.error}"
        if ids and "refused" in answer.error and all(_is_silent_by_nature(evidence, node_id) for node_id in ids):
            what = f"{answer.address}{who} has no client port; the others hear it on the bus"
            yield Finding(Kind.SILENT_MEMBER, answer.address, what, said_by, "", tuple(ids))
            continue
        yield Finding(Kind.NOT_ASKED, answer.address, what, said_by, _how_to_ask(answer.error), tuple(ids))


def _is_silent_by_nature(evidence: Evidence, node_id: str) -> bool:
    """Whether that may be a member in somebody's program (`Bus(resp=False)`), or an observer: such a node owns no slots
    and is no replica, and everybody hears it.
    """
    rows = [telling.row for telling in evidence.tellings[node_id]]
    is_heard = all(row.is_connected and not _is_failing(row) for row in rows)
    return (
        is_heard and not any(row.slot_bits or row.is_replica for row in rows) and node_id not in evidence.addresses_of
    )


def _elsewhere(evidence: Evidence, node_id: str) -> str:
    return f", which answers at {evidence.addresses_of[node_id][0]}" if node_id in evidence.addresses_of else ""


def _how_to_ask(error: str) -> str:
    if "NOAUTH" in error:
        return "give the password with -a, or in REDISCLI_AUTH"
    if "WRONGPASS" in error or "AUTH" in error:
        return "the password is another one there: -a, and --user for that of an ACL"
    if "NOPERM" in error:
        return "the user needs +cluster|nodes, or all of: +cluster +info +config|get"
    if "SSL" in error or "closed the connection" in error or "reset" in error:
        return "see whether its client port speaks TLS (--tls) or not"
    return "see that its process runs, and that its client port is reached from here"


def _words(address: str) -> str:
    """An address as CLUSTER MEET takes it."""
    ip, _, port = address.rpartition(":")
    return f"{ip.strip('[]')} {port}"


def _seed(evidence: Evidence) -> str:
    return next((answer.address for answer in evidence.members.values()), "SEED")
