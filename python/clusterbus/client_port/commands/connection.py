"""The commands about a connection itself: PING, HELLO, AUTH, SELECT, RESET, READONLY, ASKING and others.

Texts and rules are Valkey's (src/networking.c, src/acl.c). Changes clients only, and must never touch the cluster. Main
thread.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

from clusterbus.client_port.arguments import SYNTAX_ERROR, integer, integer_or_none, text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.commands.clients import CLIENT, check_name, note_failed_login
from clusterbus.client_port.registry import CommandSpec
from clusterbus.client_port.reply import OK, CommandError, Reply, Status

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
        note_failed_login(client, user)
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
            check_name(name, "Client names")
        else:
            raise CommandError(f"Syntax error in HELLO option '{text_of(rest[0])}'")
    if credentials is not None:
        if not _password_fits(client, *credentials):
            note_failed_login(client, credentials[0])
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


# ---------------------------------------------------------------- the table

_FAST: Final = ("noscript", "loading", "stale", "fast")


def _command(
    name: str,
    handler: Callable[..., Reply],
    arity: int,
    summary: str,
    *,
    since: str = "1.0.0",
    flags: tuple[str, ...] = _FAST,
    group: str = "connection",
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
        tips=tips,
        while_subscribed=while_subscribed,
    )


_NO_AUTH: Final = ("noscript", "loading", "stale", "fast", "no_auth", "allow_busy")

CONNECTION_COMMANDS: Final[tuple[CommandSpec, ...]] = (
    _command("asking", asking, 1, "The next command follows an ASK redirection.", flags=("fast",), group="cluster"),
    _command("auth", auth, -2, "Gives the password.", flags=_NO_AUTH),
    CLIENT,
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
        flags=("loading", "stale", "fast", "allow_busy"),
    ),
)
