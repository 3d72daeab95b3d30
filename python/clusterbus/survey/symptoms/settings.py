"""Versions and directives that differ from node to node, and what could not be asked.

Owns which directives have to be the same everywhere. Plain functions, any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clusterbus.survey.asking import ADDRESSES_MAX, Answer
from clusterbus.survey.evidence import Evidence, addresses
from clusterbus.survey.finding import Finding, Kind

NODE_TIMEOUT: Final = "cluster-node-timeout"
ALIKE: Final = (
    "cluster-require-full-coverage",
    "cluster-allow-replica-migration",
    "cluster-allow-reads-when-down",
    "cluster-migration-barrier",
    "cluster-replica-validity-factor",
)
"""Directives that each node obeys for itself, and by which a cluster behaves as one only if they are the same."""
NO_SUCH_COMMAND: Final = ("unknown subcommand", "unknown command")


def timeouts_differ(evidence: Evidence) -> Iterator[Finding]:
    """Failure is a matter of votes: with another timeout a node votes early or never in time."""
    values = _values(evidence, NODE_TIMEOUT)
    if len(values) > 1:
        usual, *others = sorted(values, key=lambda value: -len(values[value]))
        what = f"{NODE_TIMEOUT} differs: {_shown(values, ' ms')}"
        where = ", ".join(answer.address for value in others for answer in values[value][:1])
        cure = f"at {where}: CONFIG SET {NODE_TIMEOUT} {usual}, then CONFIG REWRITE"
        said_by = addresses(answer for value in others for answer in values[value])
        yield Finding(Kind.TIMEOUTS_DIFFER, "", what, said_by, cure)


def settings_differ(evidence: Evidence) -> Iterator[Finding]:
    for name in ALIKE:
        values = _values(evidence, name)
        if len(values) > 1:
            usual, *others = sorted(values, key=lambda value: -len(values[value]))
            said_by = addresses(answer for value in others for answer in values[value])
            cure = f"if that is not meant: CONFIG SET {name} {usual}"
            yield Finding(Kind.SETTINGS_DIFFER, name, f"{name} differs: {_shown(values)}", said_by, cure)


def _values(evidence: Evidence, name: str) -> dict[str, list[Answer]]:
    values: dict[str, list[Answer]] = {}
    for answer in evidence.members.values():
        if name in answer.config:
            values.setdefault(answer.config[name], []).append(answer)
    return values


def _shown(values: dict[str, list[Answer]], unit: str = "") -> str:
    ordered = sorted(values.items(), key=lambda item: -len(item[1]))
    return ", ".join(
        f"{value}{unit} at {answers[0].address if len(answers) == 1 else f'{len(answers)} nodes'}"
        for value, answers in ordered
    )


def server_of(answer: Answer) -> tuple[str, str]:
    """(kind of server, its version), ("", "") if INFO was refused."""
    if "redis_version" not in answer.info:
        return "", ""
    kind = answer.info.get("server_name", "redis")
    return kind, answer.info.get(f"{kind}_version", answer.info["redis_version"])


def versions_differ(evidence: Evidence) -> Iterator[Finding]:
    """Servers of one kind in several versions, and Redis beside Valkey. clusterbus beside either is what it is for."""
    kinds: dict[str, dict[str, list[Answer]]] = {}
    for answer in evidence.members.values():
        kind, version = server_of(answer)
        if kind:
            kinds.setdefault(kind, {}).setdefault(version, []).append(answer)
    cure = "finish the upgrade: replicas first, then CLUSTER FAILOVER and the old primaries"
    for kind, versions in kinds.items():
        if len(versions) > 1:
            others = sorted(versions, key=lambda version: -len(versions[version]))[1:]
            said_by = addresses(answer for version in others for answer in versions[version])
            yield Finding(Kind.VERSIONS_DIFFER, kind, f"versions of {kind} differ: {_shown(versions)}", said_by, cure)
    if {"redis", "valkey"} <= {*kinds}:
        servers = {f"{kind} {version}": nodes for kind in ("redis", "valkey") for version, nodes in kinds[kind].items()}
        fewer = min((kinds["redis"], kinds["valkey"]), key=lambda versions: sum(map(len, versions.values())))
        said_by = addresses(answer for answers in fewer.values() for answer in answers)
        yield Finding(
            Kind.VERSIONS_DIFFER, "redis valkey", f"two servers in a cluster: {_shown(servers)}", said_by, cure
        )


def refused(evidence: Evidence) -> Iterator[Finding]:
    """Questions that a node has and does not answer to us. One that a server does not have is none of them."""
    reasons: dict[tuple[str, str], list[Answer]] = {}
    for answer in evidence.members.values():
        for question, reason in answer.refused.items():
            if not any(words in reason for words in NO_SUCH_COMMAND):
                reasons.setdefault((question, reason), []).append(answer)
    for (question, reason), answers in reasons.items():
        what = f"{question} was refused by {len(answers)} of {len(evidence.members)} nodes: {reason}"
        cure = "what it would have told is not judged; an ACL needs +cluster +info +config|get"
        yield Finding(Kind.REFUSED, question, what, addresses(answers), cure)


def not_whole(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.survey.is_whole:
        yield Finding(Kind.NOT_WHOLE, "", f"the nodes name more than {ADDRESSES_MAX:,} addresses; no more were asked")
