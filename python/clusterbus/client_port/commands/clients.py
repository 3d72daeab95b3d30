"""CLIENT and its subcommands: what a client says of itself, and questions and orders about all clients.

Texts and rules are Valkey's (src/networking.c). Changes clients only, and must never touch the cluster. Main thread.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Final

from clusterbus.client_port.arguments import SYNTAX_ERROR, integer, integer_or_none, text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.pause import Pause, PauseKind
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, NullArray, Reply, SetOf, Verbatim, error

PAUSE_MAX_MS: Final = 2**62
NO_TRACKING: Final = (
    "no keys are tracked for clients here: a data plane does not tell this node which keys change, so a client's cache "
    "would grow stale"
)
_PRINTABLE: Final = re.compile(rb"[!-~]*")
_CLIENT_TYPES: Final = (
    "normal",
    "replica",
    "slave",
    "pubsub",
    "primary",
    "master",
    "slot-import",
    "slot-export",
)


def check_name(name: bytes, what: str) -> None:
    """Raises CommandError for a name with other characters than printable ones; `what` begins the error."""
    if not _PRINTABLE.fullmatch(name):
        raise CommandError(f"{what} cannot contain spaces, newlines or special characters.")


def client_id(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    return client.id


def client_getname(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    return client.name or None


def client_setname(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    check_name(arguments[0], "Client names")
    client.name = text_of(arguments[0])
    return OK


def client_setinfo(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    option, value = text_of(arguments[0]), arguments[1]
    attributes = {"lib-name": "library_name", "lib-ver": "library_version"}
    attribute = attributes.get(option.lower())
    if attribute is None:
        raise CommandError(f"Unrecognized option '{option}'")
    check_name(value, option)
    setattr(client, attribute, text_of(value))
    return OK


def describe(client: Client) -> str:
    """One line of CLIENT LIST, with Valkey's fields in Valkey's order. A field that is not filled here is 0 or -1."""
    now_s = client.server.now_s()
    pending_bytes = client.connection.output_len_bytes()
    query_bytes = client.connection.query_buffer_len_bytes()
    in_transaction = client.transaction is not None
    marks = (
        *(("O", client.is_monitor), ("P", client.is_subscribed), ("x", in_transaction)),
        *(("b", client.connection.is_blocked), ("r", client.readonly), ("e", client.no_evict), ("T", client.no_touch)),
    )
    queued = len(client.transaction or ())
    flags = "".join(mark for mark, is_set in marks if is_set)
    subscriber = client.subscriber
    fields: dict[str, object] = {
        "id": client.id,
        "addr": client.address,
        "laddr": client.local_address,
        "fd": client.descriptor,
        "name": client.name,
        "age": int(now_s - client.created_s),
        "idle": int(now_s - client.last_interaction_s),
        "flags": flags or "N",
        "capa": "r" if "redirect" in client.capabilities else "",
        "db": 0,
        "sub": len(subscriber.channels) if subscriber else 0,
        "psub": len(subscriber.patterns) if subscriber else 0,
        "ssub": len(subscriber.shard_channels) if subscriber else 0,
        "multi": queued if in_transaction or client.has_been_in_transaction else -1,
        "watch": len(client.watched),
        "qbuf": query_bytes,
        "qbuf-free": 0,
        "argv-mem": 0,
        "multi-mem": 0,
        "rbs": 0,
        "rbp": 0,
        "obl": pending_bytes,
        "oll": 0,
        "omem": pending_bytes,
        "tot-mem": query_bytes + pending_bytes,
        "events": "r",
        "cmd": client.last_command,
        "user": "default",
        "redir": -1,
        "resp": client.protocol,
        "lib-name": client.library_name,
        "lib-ver": client.library_version,
        "tot-net-in": client.received_bytes,
        "tot-net-out": client.sent_bytes,
        "tot-cmds": client.commands_processed,
    }
    return " ".join(f"{name}={value}" for name, value in fields.items()) + "\n"


def note_failed_login(client: Client, user: bytes) -> None:
    """Adds a login that failed to ACL LOG."""
    client.server.observer.logins.add(text_of(user), describe(client).rstrip(), time.time_ns() // 1_000_000)


def client_info(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    return Verbatim(describe(client))


Filter = Callable[[Client], bool]


def _type_filter(value: str) -> Filter:
    if value.lower() not in _CLIENT_TYPES:
        raise CommandError(f"Unknown client type '{value}'")
    kinds = {"normal": False, "pubsub": True}
    return lambda client: kinds.get(value.lower()) == client.is_subscribed


def _age_filter(value: str) -> Filter:
    limit_s = integer_or_none(value.encode("utf-8", "surrogateescape"))
    if limit_s is None:
        raise CommandError("maxage is not an integer or out of range")
    return lambda client: client.server.now_s() - client.created_s >= limit_s


def _user_filter(value: str) -> Filter:
    if value != "default":
        raise CommandError(f"No such user '{value}'")
    return lambda _client: True


_FILTERS: Final[dict[str, Callable[[str], Filter]]] = {
    "type": _type_filter,
    "maxage": _age_filter,
    "user": _user_filter,
    "addr": lambda value: lambda client: client.address == value,
    "laddr": lambda value: lambda client: client.local_address == value,
    "name": lambda value: lambda client: client.name == value,
}
"""Options of CLIENT LIST and CLIENT KILL that take one value. ID takes several, so it is handled apart."""


def _id_filter(words: list[bytes]) -> tuple[Filter, int]:
    """The filter for `ID n [n ...]`, and the number of ids."""
    ids: list[int] = []
    for word in words:
        number = integer_or_none(word)
        if number is None:
            break
        if number < 1:
            raise CommandError("client-id should be greater than 0")
        ids.append(number)
    if not ids:
        raise CommandError(SYNTAX_ERROR)
    wanted = frozenset(ids)
    return (lambda client: client.id in wanted), len(ids)


def _read_filters(arguments: list[bytes]) -> tuple[list[Filter], bool]:
    """The filters, and SKIPME: whether the client that asks is left out."""
    filters: list[Filter] = []
    skip_me = True
    rest = arguments
    while rest:
        option = text_of(rest[0]).lower()
        if option == "id":
            by_id, count = _id_filter(rest[1:])
            filters.append(by_id)
            rest = rest[1 + count :]
            continue
        if len(rest) < 2:
            raise CommandError(SYNTAX_ERROR)
        value = text_of(rest[1])
        if option == "skipme" and value.lower() in ("yes", "no"):
            skip_me = value.lower() == "yes"
        elif option in _FILTERS:
            filters.append(_FILTERS[option](value))
        else:
            raise CommandError(SYNTAX_ERROR)
        rest = rest[2:]
    return filters, skip_me


def _matching(clients: Iterable[Client], filters: list[Filter]) -> list[Client]:
    return [client for client in clients if all(fits(client) for fits in filters)]


def client_list(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    filters, _skip_me = _read_filters(arguments)
    return Verbatim("".join(map(describe, _matching(client.server.clients.values(), filters))))


def client_kill(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """CLIENT KILL with an address, or with filters; with filters the reply is the number of closed clients."""
    if len(arguments) == 1:
        victims = [c for c in client.server.clients.values() if c.address == text_of(arguments[0])]
        if not victims:
            raise CommandError("No such client")
        _close(victims, client)
        return OK
    filters, skip_me = _read_filters(arguments)
    victims = _matching(client.server.clients.values(), filters)
    victims = [victim for victim in victims if victim is not client or not skip_me]
    _close(victims, client)
    return len(victims)


def _close(victims: list[Client], asking_client: Client) -> None:
    for victim in victims:
        if victim is asking_client:
            victim.connection.close_after_reply()
        else:
            victim.connection.close()


def _switch(attribute: str) -> Callable[[object, Client, list[bytes]], Reply]:
    def handler(_member: object, client: Client, arguments: list[bytes]) -> Reply:
        word = arguments[0].lower()
        if word not in (b"on", b"off"):
            raise CommandError(SYNTAX_ERROR)
        setattr(client, attribute, word == b"on")
        return OK

    return handler


def client_reply(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """CLIENT REPLY. ON itself gets a reply, OFF and SKIP get none; after SKIP the next command gets none either."""
    word = text_of(arguments[0]).lower()
    if word == "skip" and client.replies == "off":
        return OK
    modes = {"on": "on", "off": "off", "skip": "skip next"}
    if word not in modes:
        raise CommandError(SYNTAX_ERROR)
    client.replies = modes[word]
    return OK


def client_capa(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    client.capabilities |= {text_of(word).lower() for word in arguments}
    return OK


def client_pause(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """CLIENT PAUSE milliseconds [WRITE|ALL]: requests of all clients wait, those that write or all."""
    kind = PauseKind.ALL
    if len(arguments) > 1:
        try:
            kind = PauseKind(text_of(arguments[1]).upper())
        except ValueError:
            raise CommandError("CLIENT PAUSE mode must be WRITE or ALL") from None
    duration_ms = integer_or_none(arguments[0])
    if duration_ms is None:
        raise CommandError("timeout is not an integer or out of range")
    if duration_ms < 0:
        raise CommandError("timeout is negative")
    if duration_ms > PAUSE_MAX_MS:
        raise CommandError("timeout is out of range")
    pause: Pause = client.server.pause
    pause.begin(kind, duration_ms / 1000, client.server.now_s())
    return OK


def client_unpause(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    """CLIENT UNPAUSE: ends a pause. During one of ALL, this waits too, as every request."""
    pause: Pause = client.server.pause
    pause.end()
    return OK


def client_unblock(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """CLIENT UNBLOCK id [TIMEOUT|ERROR]: ends the wait of a client in a blocking command. 1 if it waited in one."""
    how = text_of(arguments[1]).lower() if len(arguments) > 1 else "timeout"
    if how not in ("timeout", "error") or len(arguments) > 2:
        raise CommandError("CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    blocked = client.server.clients.get(integer(arguments[0]))
    reply = error("client unblocked via CLIENT UNBLOCK", "UNBLOCKED") if how == "error" else NullArray()
    return int(blocked is not None and blocked.connection.unblock(reply))


def client_tracking(_member: object, _client: Client, arguments: list[bytes]) -> Reply:
    """CLIENT TRACKING: refused, except OFF, because it is always off."""
    word = arguments[0].lower()
    if word not in (b"on", b"off"):
        raise CommandError(SYNTAX_ERROR)
    if word == b"on":
        raise CommandError(NO_TRACKING)
    return OK


def client_caching(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
    raise CommandError(
        "CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
    )


def client_import_source(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
    raise CommandError("Server is not in import mode")


def client_getredir(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
    return -1


def client_trackinginfo(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
    return {"flags": SetOf(["off"]), "redirect": -1, "prefixes": []}


# ---------------------------------------------------------------- the table

_FLAGS: Final = ("noscript", "loading", "stale")
_CATEGORIES: Final = ("@slow", "@connection")


def _sub(
    name: str,
    handler: Callable[..., Reply],
    arity: int,
    summary: str,
    synopsis: str = "",
    since: str = "2.4.0",
    *flags: str,
) -> CommandSpec:
    return CommandSpec(
        name,
        handler,
        arity,
        (*_FLAGS, *flags),
        summary,
        synopsis=synopsis,
        since=since,
        group="connection",
        categories=_CATEGORIES,
    )


_CLIENT_COMMANDS: Final = (
    _sub("caching", client_caching, 3, "Refused: nothing is tracked here.", "(YES|NO)", "6.0.0", "allow_busy"),
    _sub(
        "capa",
        client_capa,
        -3,
        "Tells the node what the client can do.",
        "<option> [options...]",
        "8.0.0",
        "allow_busy",
    ),
    _sub("getname", client_getname, 2, "The name of this connection.", "", "2.6.9", "allow_busy"),
    _sub("getredir", client_getredir, 2, "Always -1: nothing is tracked here.", "", "6.0.0", "allow_busy"),
    _sub("id", client_id, 2, "The number of this connection.", "", "5.0.0", "allow_busy"),
    _sub("import-source", client_import_source, 3, "Refused: no data is imported here.", "(ON|OFF)", "8.1.0"),
    _sub("info", client_info, 2, "This connection as a line of CLIENT LIST.", since="6.2.0"),
    _sub(
        "kill",
        client_kill,
        -3,
        "Closes connections, by address or by filters.",
        "<ip:port> | <option> <value> [...]",
        "2.4.0",
        "admin",
    ),
    _sub(
        "list",
        client_list,
        -2,
        "One line for each connection that passes the filters.",
        "[options ...]",
        "2.4.0",
        "admin",
    ),
    _sub(
        "no-evict",
        _switch("no_evict"),
        3,
        "Accepted and shown in CLIENT LIST; nothing is evicted here.",
        "(ON|OFF)",
        "7.0.0",
        *("admin", "allow_busy"),
    ),
    _sub(
        "no-touch",
        _switch("no_touch"),
        3,
        "Accepted and shown in CLIENT LIST; keys have no access times here.",
        "(ON|OFF)",
        "7.2.0",
        "allow_busy",
    ),
    _sub(
        "pause",
        client_pause,
        -3,
        "The requests of all clients wait for so many milliseconds: those that write, or all.",
        "<timeout> [WRITE|ALL]",
        "3.0.0",
        "admin",
    ),
    _sub(
        "reply",
        client_reply,
        3,
        "Turns replies on or off, or skips one.",
        "(ON|OFF|SKIP)",
        "3.2.0",
        *("allow_busy", "no_multi"),
    ),
    _sub(
        "setinfo",
        client_setinfo,
        4,
        "Sets the name or version of the client's library.",
        "<option> <value>",
        "7.2.0",
        "allow_busy",
    ),
    _sub("setname", client_setname, 3, "Names this connection.", "<name>", "2.6.9", "allow_busy"),
    _sub("tracking", client_tracking, -3, "Refused, except OFF: no keys are tracked here.", "(ON|OFF) [...]", "6.0.0"),
    _sub("trackinginfo", client_trackinginfo, 2, "Always off: nothing is tracked here.", since="6.2.0"),
    _sub(
        "unblock",
        client_unblock,
        -3,
        "Ends the wait of a client in a blocking command.",
        "<client-id> [TIMEOUT|ERROR]",
        "5.0.0",
        "admin",
    ),
    _sub("unpause", client_unpause, 2, "Ends CLIENT PAUSE.", "", "6.2.0", "admin"),
)

CLIENT: Final = CommandSpec(
    "client",
    None,
    -2,
    summary="Connections: this one and the others.",
    group="connection",
    subcommands=_CLIENT_COMMANDS,
)
