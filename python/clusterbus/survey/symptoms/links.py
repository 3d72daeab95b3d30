"""Who hears whom.

Owns when a link counts as there. Plain functions, any thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from clusterbus.survey.asking import Answer
from clusterbus.survey.evidence import Evidence, addresses
from clusterbus.survey.finding import Finding, Kind

PIECE_SHOWN_MAX = 6


def pieces(evidence: Evidence) -> Iterator[Finding]:
    """Groups of nodes that do not hear each other."""
    found = evidence.pieces
    if len(found) < 2:
        return
    shown = "; ".join(_piece(piece) for piece in found[:PIECE_SHOWN_MAX])
    rest = f"; and {len(found) - PIECE_SHOWN_MAX} more" if len(found) > PIECE_SHOWN_MAX else ""
    what = f"the cluster is in {len(found)} pieces that do not hear each other: {shown}{rest}"
    subject = " | ".join(sorted(min(answer.node_id for answer in piece) for piece in found))
    cure = "see that the nodes reach each other's bus ports; pieces that never met: CLUSTER MEET"
    smaller = tuple(answer.node_id for piece in found[1:] for answer in piece)
    yield Finding(Kind.PIECES, subject, what, tuple(piece[0].address for piece in found), cure, smaller)


def _piece(piece: list[Answer]) -> str:
    shown = ", ".join(answer.address for answer in piece[:PIECE_SHOWN_MAX])
    rest = f" and {len(piece) - PIECE_SHOWN_MAX} more" if len(piece) > PIECE_SHOWN_MAX else ""
    states = sorted({answer.cluster_info.get("cluster_state", "?") for answer in piece})
    return f"{shown}{rest} (state {' and '.join(states)})"


def one_sided_links(evidence: Evidence) -> Iterator[Finding]:
    """Nodes that have links to others which have none to them.

    A link of A to B is there if A shows it as connected in CLUSTER NODES and B does not owe A a PONG for long. That B
    lists it among those from A in CLUSTER LINKS is no condition: a Valkey node lists a link only once its sender has
    said something that it took, and until then the link serves all the same.
    """
    down: dict[str, set[str]] = {node_id: set() for node_id in evidence.members}
    for tellings in evidence.tellings.values():
        for telling in tellings:
            if not telling.row.is_connected and telling.row.node_id in down:
                down[telling.row.node_id] |= {answer.node_id for answer in telling.answers}
    for node_id, answer in evidence.members.items():
        for other in answer.overdue & down.keys():
            down[other].add(node_id)
    for node_id, deaf in down.items():
        # Nodes that it does not know are no matter of links: that is what `not_known` says.
        sides = [other for other in deaf if node_id not in down[other] and other in evidence.members[node_id].rows]
        if sides:
            answers = [evidence.members[other] for other in sorted(sides)]
            who = answers[0].address if len(answers) == 1 else f"{len(answers)} nodes"
            what = f"{evidence.name(node_id)} has a link to {who}, and gets none from there"
            row = answers[0].rows[node_id]
            cure = (
                f"see what keeps {answers[0].address} from {row.ip} port {row.cport}: a firewall, or what it announces"
            )
            yield Finding(Kind.ONE_SIDED_LINK, node_id, what, addresses(answers), cure, (node_id, *sorted(sides)))


def not_known(evidence: Evidence) -> Iterator[Finding]:
    """Members that others of their piece do not have in their tables."""
    piece_of = {answer.node_id: number for number, piece in enumerate(evidence.pieces) for answer in piece}
    for node_id, member in evidence.members.items():
        knowing = sum(len(telling.answers) for telling in evidence.tellings.get(node_id, ()))
        if knowing >= len(evidence.members) or member.myself is None:  # an observer is to be known by nobody
            continue
        others = [
            answer
            for answer in evidence.members.values()
            if node_id not in answer.rows and piece_of[answer.node_id] == piece_of[node_id]
        ]
        if others:
            what = f"{evidence.name(node_id)} is not known to {len(others)} of {len(evidence.members)} nodes"
            ip, _, port = member.address.rpartition(":")
            cure = f"at {others[0].address}: CLUSTER MEET {ip.strip('[]')} {port}"
            yield Finding(Kind.NOT_KNOWN, node_id, what, addresses(others), cure, (node_id,))


def handshakes(evidence: Evidence) -> Iterator[Finding]:
    """Nodes that are not let in: somebody was told to meet them, and they have not answered as they should."""
    held: dict[str, list[Answer]] = {}
    for answer in evidence.members.values():
        for row in answer.nodes:
            if row.is_in_handshake:
                held.setdefault(row.address, []).append(answer)
    for address, answers in held.items():
        what = f"{address} is in handshake: it was to be met, and has not answered on its bus port"
        cure = (
            "see whether that is a node of a cluster and its bus port is reached; it is given up after a node timeout"
        )
        yield Finding(Kind.HANDSHAKE, address, what, addresses(answers), cure)


def off_the_bus(evidence: Evidence) -> Iterator[Finding]:
    """Nodes that answer at their client port, and that an observer does not reach on the bus while nobody holds them
    failed: what keeps us from their bus port may keep others from it.
    """
    for observer in evidence.members.values():
        for node_id, reason in observer.unreached.items():
            if node_id not in evidence.members:
                continue
            if evidence.by_others(node_id, lambda row: row.is_failed or row.is_suspected):
                continue
            row = observer.rows[node_id]
            what = f"{evidence.name(node_id)} answers here, and not on the bus: {reason}"
            cure = f"see whether this machine and {row.ip} reach each other's bus ports, {row.cport} there"
            yield Finding(Kind.OFF_THE_BUS, node_id, what, (observer.address,), cure, (node_id,))
