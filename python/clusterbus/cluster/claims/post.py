"""What each letter is for, and the tick of all claims.

Owns the table of kinds. Nothing that a peer sends raises out of `receive`. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clusterbus.cluster.claims import electorate, giving, letters, promises, taking, voting
from clusterbus.cluster.claims.letters import Kind, Letter
from clusterbus.cluster.core import Core
from clusterbus.cluster.membership import observing
from clusterbus.cluster.model.node import Node
from clusterbus.cluster.model.refusal import Refusal
from clusterbus.wire import ModuleMessage


def receive(core: Core, sender: Node, message: ModuleMessage) -> None:
    """A letter of a known node came."""
    try:
        letter = letters.decode(message.module_type, bytes(message.data))
    except ValueError as error:
        core.refuse(Refusal.LETTER, sender.node_id, f"a letter about slots that makes no sense: {error}")
        return
    electorate.note_letter(sender, letter)
    if observing.is_on(core):
        observing.tell(core, sender)  # it waits for an answer, or counts on us
        return
    _HANDLERS[letter.kind](core, sender, letter)


def tick(core: Core) -> None:
    """Ten times a second. It costs nothing while no claim was ever made."""
    claims = core.claims
    if claims.is_kept or claims.promises or claims.gifts or claims.wishes or claims.awaits_kin:
        electorate.find_others(core)
        promises.tick(core)
        giving.tick(core)
        taking.step(core)


def _handle_hello(core: Core, sender: Node, _letter: Letter) -> None:
    electorate.write(core, sender, Letter(Kind.HERE, electorate.has_data(core)))


def _handle_here(core: Core, _sender: Node, _letter: Letter) -> None:
    taking.step(core)


def _handle_renewed(core: Core, sender: Node, letter: Letter) -> None:
    promises.take_answer(core, sender, letter)
    taking.step(core)


_HANDLERS: Final[dict[Kind, Callable[[Core, Node, Letter], None]]] = {
    Kind.HELLO: _handle_hello,
    Kind.HERE: _handle_here,
    Kind.ASK: voting.handle_ask,
    Kind.VOTE: taking.take_vote,
    Kind.DENY: taking.take_denial,
    Kind.RENEW: promises.answer,
    Kind.RENEWED: _handle_renewed,
    Kind.GIVE: giving.receive,
    Kind.GAVE: giving.take_answer,
}
