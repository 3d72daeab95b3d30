"""Surveys that a test writes down: the nodes and what each says of the others, without a server.

Owns a sound cluster to begin with, which a test then spoils in one respect. Ids are one letter forty times. Plain data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from clusterbus.survey.asking import Answer, Survey
from clusterbus.survey.finding import Finding
from clusterbus.survey.findings import findings
from clusterbus.survey.node_rows import RowTable

HOST = "10.0.0.1"


@dataclass(frozen=True)
class Line:
    """One node as a line of CLUSTER NODES shows it; `slots` as there, moving ones too."""

    letter: str
    port: int
    flags: str = "master"
    primary: str = "-"
    epoch: int = 1
    link: str = "connected"
    slots: str = ""
    host: str = HOST

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def text(self, *, is_own: bool) -> str:
        flags = f"myself,{self.flags}" if is_own else self.flags
        primary = self.primary * 40 if self.primary != "-" else "-"
        where = f"{self.host}:{self.port}@{self.port + 10_000}"
        return f"{self.letter * 40} {where} {flags} {primary} 0 0 {self.epoch} {self.link} {self.slots}".rstrip()


@dataclass
class Written:
    """A cluster. `tables` has for each letter what that node says of every one; `said` more of its answer; `errors`
    what came instead of an answer, by address.
    """

    tables: dict[str, dict[str, Line]]
    said: dict[str, dict[str, object]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    at: dict[str, str] = field(default_factory=dict)
    """Where a node answers, if that is not where it says that it is."""

    def change(self, letter: str, viewers: str = "", **changes: object) -> None:
        """What `viewers`, or all, say of a node."""
        for viewer in viewers or self.tables:
            self.tables[viewer][letter] = replace(self.tables[viewer][letter], **changes)  # type: ignore[arg-type]

    def forget(self, letter: str, viewers: str) -> None:
        for viewer in viewers:
            del self.tables[viewer][letter]

    def silence(self, letter: str, error: str = "Connection refused") -> None:
        """The node answers no more."""
        self.errors[self.tables[letter][letter].address] = error
        del self.tables[letter]

    def say(self, letter: str, **more: object) -> None:
        self.said.setdefault(letter, {}).update(more)

    def survey(self) -> Survey:
        table = RowTable()
        answers = []
        for letter, lines in self.tables.items():
            text = "\n".join(line.text(is_own=line.letter == letter) for line in lines.values())
            more: dict[str, object] = {"info": {"redis_version": "7.2.4"}, "cluster_info": {"cluster_state": "ok"}}
            more |= {"config": {"cluster-node-timeout": "15000"}, "shard_id": shard_of(lines[letter])}
            more |= self.said.get(letter, {})
            address = self.at.get(letter, lines[letter].address)
            answers.append(Answer(address, letter * 40, table.parse(text).rows, **more))  # type: ignore[arg-type]
        answers += [Answer(address, error=error) for address, error in self.errors.items()]
        return Survey((answers[0].address,), tuple(answers))

    def findings(self) -> list[Finding]:
        return findings(self.survey())

    def found(self) -> Mapping[str, Finding]:
        """The findings by the code of their kind, of which there must not be two."""
        found = self.findings()
        by_kind = {finding.kind.value: finding for finding in found}
        assert len(by_kind) == len(found), found
        return by_kind


def shard_of(line: Line) -> str:
    return "shard " + (line.primary if line.primary != "-" else line.letter)


def sound() -> Written:
    """Primaries a, b and c with the slots, and d, a replica of a."""
    lines = (
        Line("a", 7001, epoch=1, slots="0-5460"),
        Line("b", 7002, epoch=2, slots="5461-10922"),
        Line("c", 7003, epoch=3, slots="10923-16383"),
        Line("d", 7004, flags="slave", primary="a", epoch=1),
    )
    return Written({line.letter: {other.letter: other for other in lines} for line in lines})
