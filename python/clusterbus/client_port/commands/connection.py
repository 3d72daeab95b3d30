"""The commands about a connection itself: PING, HELLO, AUTH, SELECT, CLIENT, RESET, READONLY, ASKING and others.

Texts and rules are Valkey's (src/networking.c, src/acl.c). Changes clients only, and must never touch the cluster. Main
thread.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable
from typing import Final

from clusterbus.client_port.arguments import SYNTAX_ERROR, integer, integer_or_none, text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Reply, SetOf, Status

_WRONG_PASSWORD: Final = "invalid username-password pair or user is disabled."
_NO_PASSWORD: Final = (
    "AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)
_HELLO_NEEDS_AUTH: Final = (
    "HELLO must be called with the client already authenticated, otherwise the HELLO <proto> "
    "AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version "
    "at the same time"
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


# ---------------------------------------------------------------- connection


def ping(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    if len(arguments) > 1:
        raise CommandError("wrong number of arguments for 'ping' command")
    if client.is_subscribed and client.protocol == 2:
        return ["pong", arguments[0] if arguments else b""]
    return arguments[0] if arguments else Status("PONG")


def echo(_member: object, _client: Client, arguments: list[bytes]) -> Reply:
    return arguments[0]


def quit_(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    client.connection.close_after_reply()
    return OK


def reset(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    client.reset()
    return Status("RESET")


def select(_member: object, _client: Client, arguments: list[bytes]) -> Reply:
    index = integer(arguments[0])
    if not -(2**31) <= index < 2**31:
        raise CommandError(f"value is out of range, value must between {-(2**31)} and {2**31 - 1}")
    if index != 0:
        raise CommandError("DB index is out of range")
    return OK


def readonly(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    client.readonly = True
    return OK


def readwrite(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    client.readonly = False
    return OK


def asking(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    client.asking = True
    return OK


# ---------------------------------------------------------------- password and HELLO


def _password_fits(client: Client, user: bytes, password: bytes) -> bool:
    """The only user is `default`. Without requirepass any password fits, as in Valkey."""
    required = client.server.config.requirepass.encode("utf-8", "surrogateescape")
    return user == b"default" and (not required or hmac.compare_digest(password, required))


def auth(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    if len(arguments) > 2:
        raise CommandError(SYNTAX_ERROR)
    if len(arguments) == 1 and not client.server.config.requirepass:
        raise CommandError(_NO_PASSWORD)
    user, password = (b"default", arguments[0]) if len(arguments) == 1 else arguments
    if not _password_fits(client, user, password):
        raise CommandError(_WRONG_PASSWORD, "WRONGPASS")
    client.authenticated = True
    return OK


def hello(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """HELLO [protocol [AUTH user password] [SETNAME name]]. If any part is wrong, nothing changes."""
    protocol = client.protocol
    if arguments:
        version = integer_or_none(arguments[0])
        if version is None:
            raise CommandError("Protocol version is not an integer or out of range")
        if version not in (2, 3):
            raise CommandError("unsupported protocol version", "NOPROTO")
        protocol = version
    credentials: tuple[bytes, bytes] | None = None
    name: bytes | None = None
    rest = arguments[1:]
    while rest:
        option = rest[0].lower()
        if option == b"auth" and len(rest) >= 3:
            credentials, rest = (rest[1], rest[2]), rest[3:]
        elif option == b"setname" and len(rest) >= 2:
            name, rest = rest[1], rest[2:]
            _check_name(name, "Client names")
        else:
            raise CommandError(f"Syntax error in HELLO option '{text_of(rest[0])}'")
    if credentials is not None:
        if not _password_fits(client, *credentials):
            raise CommandError(_WRONG_PASSWORD, "WRONGPASS")
        client.authenticated = True
    if client.server.config.requirepass and not client.authenticated:
        raise CommandError(_HELLO_NEEDS_AUTH, "NOAUTH")
    if name is not None:
        client.name = text_of(name)
    client.protocol = protocol
    facts = client.server.greeting()
    answer: dict[str, Reply] = {
        "server": facts.get("server", "clusterbus"),
        "version": facts.get("version", ""),
        "proto": protocol,
        "id": client.id,
        "mode": facts.get("mode", "cluster"),
        "role": facts.get("role", "master"),
        "modules": [],
    }
    zone = facts.get("availability_zone")
    return {**answer, "availability_zone": zone} if zone else answer


def _check_name(name: bytes, what: str) -> None:
    if not _PRINTABLE.fullmatch(name):
        raise CommandError(f"{what} cannot contain spaces, newlines or special characters.")


# ---------------------------------------------------------------- CLIENT


def client_id(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    return client.id


def client_getname(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    return client.name or None


def client_setname(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    _check_name(arguments[0], "Client names")
    client.name = text_of(arguments[0])
    return OK


def client_setinfo(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    option, value = text_of(arguments[0]), arguments[1]
    attributes = {"lib-name": "library_name", "lib-ver": "library_version"}
    attribute = attributes.get(option.lower())
    if attribute is None:
        raise CommandError(f"Unrecognized option '{option}'")
    _check_name(value, option)
    setattr(client, attribute, text_of(value))
    return OK


def describe(client: Client) -> str:
    """One line of CLIENT LIST, with Valkey's fields in Valkey's order. A field that is not filled here is 0 or -1."""
    now_s = client.server.now_s()
    pending_bytes = client.connection.output_len_bytes()
    query_bytes = client.connection.query_buffer_len_bytes()
    marks = (("P", client.is_subscribed), ("r", client.readonly), ("e", client.no_evict), ("T", client.no_touch))
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
        "multi": -1,
        "watch": 0,
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


def client_info(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    return describe(client)


Filter = Callable[[Client], bool]


def _type_filter(value: str) -> Filter:
    if value.lower() not in _CLIENT_TYPES:
        raise CommandError(f"Unknown client type '{value}'")
    kinds = {"normal": False, "pubsub": True}
    return lambda client: kinds.get(value.lower()) == client.is_subscribed


def _age_filter(value: str) -> Filter:
    limit_s = integer_or_none(value.encode())
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
    return "".join(map(describe, _matching(client.server.clients.values(), filters)))


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


def client_getredir(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
    return -1


def client_trackinginfo(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
    return {"flags": SetOf(["off"]), "redirect": -1, "prefixes": []}


# ---------------------------------------------------------------- the table

_FAST: Final = ("noscript", "loading", "stale", "fast")
_SUB: Final = ("noscript", "loading", "stale")
_CATEGORIES: Final = ("@fast", "@connection")
_SUB_CATEGORIES: Final = ("@slow", "@connection")


def _sub(
    name: str,
    handler: Callable[..., Reply],
    arity: int,
    summary: str,
    synopsis: str = "",
    since: str = "2.4.0",
) -> CommandSpec:
    return CommandSpec(
        name,
        handler,
        arity,
        _SUB,
        summary,
        synopsis=synopsis,
        since=since,
        group="connection",
        categories=_SUB_CATEGORIES,
    )


_CLIENT_COMMANDS: Final = (
    _sub("capa", client_capa, -3, "Tells the node what the client can do.", "<option> [options...]", "8.0.0"),
    _sub("getname", client_getname, 2, "The name of this connection.", since="2.6.9"),
    _sub("getredir", client_getredir, 2, "Always -1: nothing is tracked here.", since="6.0.0"),
    _sub("id", client_id, 2, "The number of this connection.", since="5.0.0"),
    _sub("info", client_info, 2, "This connection as a line of CLIENT LIST.", since="6.2.0"),
    _sub(
        "kill",
        client_kill,
        -3,
        "Closes connections, by address or by filters.",
        "<ip:port> | <option> <value> [...]",
    ),
    _sub(
        "list",
        client_list,
        -2,
        "One line for each connection that passes the filters.",
        "[options ...]",
    ),
    _sub(
        "no-evict",
        _switch("no_evict"),
        3,
        "Accepted and shown in CLIENT LIST; nothing is evicted here.",
        "(ON|OFF)",
        "7.0.0",
    ),
    _sub(
        "no-touch",
        _switch("no_touch"),
        3,
        "Accepted and shown in CLIENT LIST; keys have no access times here.",
        "(ON|OFF)",
        "7.2.0",
    ),
    _sub("reply", client_reply, 3, "Turns replies on or off, or skips one.", "(ON|OFF|SKIP)", "3.2.0"),
    _sub(
        "setinfo",
        client_setinfo,
        4,
        "Sets the name or version of the client's library.",
        "<option> <value>",
        "7.2.0",
    ),
    _sub("setname", client_setname, 3, "Names this connection.", "<name>", "2.6.9"),
    _sub("trackinginfo", client_trackinginfo, 2, "Always off: nothing is tracked here.", since="6.2.0"),
)


def _command(
    name: str,
    handler: Callable[..., Reply] | None,
    arity: int,
    summary: str,
    *,
    since: str = "1.0.0",
    flags: tuple[str, ...] = _FAST,
    group: str = "connection",
    subcommands: tuple[CommandSpec, ...] = (),
    tips: tuple[str, ...] = (),
    while_subscribed: bool = False,
) -> CommandSpec:
    return CommandSpec(
        name,
        handler,
        arity,
        flags,
        summary,
        since=since,
        group=group,
        categories=("@fast" if "fast" in flags else "@slow", "@connection"),
        subcommands=subcommands,
        tips=tips,
        while_subscribed=while_subscribed,
    )


_NO_AUTH: Final = ("noscript", "loading", "stale", "fast", "no_auth", "allow_busy")

CONNECTION_COMMANDS: Final[tuple[CommandSpec, ...]] = (
    _command("asking", asking, 1, "The next command follows an ASK redirection.", flags=("fast",), group="cluster"),
    _command("auth", auth, -2, "Gives the password.", flags=_NO_AUTH),
    _command(
        "client",
        None,
        -2,
        "Connections: this one and the others.",
        flags=(),
        subcommands=_CLIENT_COMMANDS,
    ),
    _command("echo", echo, 2, "Gives its argument back.", flags=("loading", "stale", "fast")),
    _command("hello", hello, -1, "Chooses the protocol; returns facts about the node.", since="6.0.0", flags=_NO_AUTH),
    _command(
        "ping",
        ping,
        -1,
        "Answers PONG, or the argument.",
        flags=("fast",),
        tips=("request_policy:all_shards", "response_policy:all_succeeded"),
        while_subscribed=True,
    ),
    _command("quit", quit_, -1, "Answers OK and closes the connection.", flags=_NO_AUTH, while_subscribed=True),
    _command(
        "readonly",
        readonly,
        1,
        "Lets a replica answer reads.",
        flags=("loading", "stale", "fast"),
        group="cluster",
    ),
    _command("readwrite", readwrite, 1, "Ends READONLY.", flags=("loading", "stale", "fast"), group="cluster"),
    _command(
        "reset",
        reset,
        1,
        "Puts the connection back into the state of a new one.",
        since="6.2.0",
        flags=_NO_AUTH,
        while_subscribed=True,
    ),
    _command(
        "select",
        select,
        2,
        "Accepts database 0, the only one of a cluster.",
        flags=("loading", "stale", "fast"),
    ),
)
