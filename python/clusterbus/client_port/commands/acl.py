"""ACL: the answers of a server with one user, `default`, who may do everything.

Owns the handlers and their rows of the command table. There are no rules, so nothing here changes what a client may do;
the password is requirepass. Main thread. Source: `acl.c`, and the answers of a running Valkey 9.1.2.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Final

from clusterbus.client_port.arguments import integer, text_of
from clusterbus.client_port.client import Client
from clusterbus.client_port.observation.login_log import LoginLog
from clusterbus.client_port.registry import CATEGORIES, CommandSpec, Registry
from clusterbus.client_port.reply import OK, CommandError, Reply, SetOf

USER: Final = "default"
ONE_USER: Final = "there is one user here, 'default', who may do everything: set its password with requirepass"
GENERATED_BITS: Final = 256
GENERATED_BITS_MAX: Final = 4_096
SHOWN_DEFAULT: Final = 10
_BITS_WRONG: Final = (
    "ACL GENPASS argument must be the number of bits for the output password, a positive number up to "
    f"{GENERATED_BITS_MAX}"
)


def _password_hash(client: Client) -> str | None:
    password = client.server.config.requirepass
    return hashlib.sha256(password.encode("utf-8", "surrogateescape")).hexdigest() if password else None


def whoami(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
    return USER


def users(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
    return [USER]


def list_rules(_member: object, client: Client, _arguments: list[bytes]) -> Reply:
    """ACL LIST: the user's rules, with the hash of the password."""
    digest = _password_hash(client)
    return [f"user {USER} on {f'#{digest}' if digest else 'nopass'} ~* &* +@all"]


def getuser(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """ACL GETUSER: the rules as a map; null for a user that does not exist."""
    if text_of(arguments[0]) != USER:
        return None
    digest = _password_hash(client)
    return {
        "flags": SetOf(["on"] if digest else ["on", "nopass"]),
        "passwords": [digest] if digest else [],
        "commands": "+@all",
        "keys": "~*",
        "channels": "&*",
        "databases": "alldbs",
        "selectors": [],
    }


def genpass(_member: object, _client: Client, arguments: list[bytes]) -> Reply:
    """ACL GENPASS: a random password in hex."""
    bits = integer(arguments[0]) if arguments else GENERATED_BITS
    if not 1 <= bits <= GENERATED_BITS_MAX:
        raise CommandError(_BITS_WRONG)
    digits = (bits + 3) // 4
    return secrets.token_hex((digits + 1) // 2)[:digits]


def log(_member: object, client: Client, arguments: list[bytes]) -> Reply:
    """ACL LOG: the logins that failed, the newest first."""
    entries: LoginLog = client.server.observer.logins
    if arguments and arguments[0].lower() == b"reset":
        entries.clear()
        return OK
    count = integer(arguments[0]) if arguments else SHOWN_DEFAULT
    now_ms = time.time_ns() // 1_000_000
    return [entry.shape(now_ms) for entry in entries.newest(count)]


def deluser(_member: object, _client: Client, arguments: list[bytes]) -> Reply:
    """ACL DELUSER: deletes nobody, because there is only the user who cannot be deleted."""
    if USER.encode() in arguments:
        raise CommandError("The 'default' user cannot be removed")
    return 0


def refuse(_member: object, _client: Client, _arguments: list[bytes]) -> Reply:
    raise CommandError(ONE_USER)


class _WithTable:
    """The subcommands that look into the command table."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def categories(self, _member: object, _client: Client, arguments: list[bytes]) -> Reply:
        """ACL CAT: all categories, or the commands of one."""
        if not arguments:
            return list(CATEGORIES)
        wanted = text_of(arguments[0])
        if wanted.lower() not in CATEGORIES:
            raise CommandError(f"Unknown category '{wanted:.128}'")
        return self._registry.names_in(f"@{wanted.lower()}")

    def dryrun(self, _member: object, client: Client, arguments: list[bytes]) -> Reply:
        """ACL DRYRUN: whether the user might send a request; it may send all that fit the command table."""
        user, words = text_of(arguments[0]), arguments[1:]
        if user != USER:
            raise CommandError(f"User '{user:.128}' not found")
        name = self._registry.name_of(words)
        found = self._registry.find(name) if name is not None else None
        if found is None or (found[1].handler is None and len(words) > 1):
            raise CommandError(f"Command '{text_of(words[0]):.128}' not found")
        if not found[1].takes(len(words)):
            raise CommandError(f"wrong number of arguments for '{found[0]}' command")
        return OK


_READ: Final = ("noscript", "loading", "stale")
_ADMIN: Final = ("admin", *_READ)


def acl_command(registry: Registry) -> CommandSpec:
    """The row of ACL, whose CAT and DRYRUN look into `registry`."""
    table = _WithTable(registry)
    subcommands = (
        CommandSpec("cat", table.categories, -2, _READ, "All categories, or the commands of one.", "[<category>]"),
        CommandSpec("deluser", deluser, -3, _ADMIN, "Deletes nobody: there is one user.", "<user> [<user> ...]"),
        CommandSpec(
            "dryrun",
            table.dryrun,
            -4,
            _ADMIN,
            "Whether a user might send a request.",
            "<user> <command> [<arg> ...]",
        ),
        CommandSpec("genpass", genpass, -2, _READ, "A random password in hex; 256 bits without a number.", "[<bits>]"),
        CommandSpec("getuser", getuser, 3, _ADMIN, "The rules of a user as a map.", "<user>"),
        CommandSpec("list", list_rules, 2, _ADMIN, "The rules of all users."),
        CommandSpec("load", refuse, 2, _ADMIN, "Refused: there is no file of users."),
        CommandSpec("log", log, -2, _ADMIN, "Logins that failed.", "[<count>|RESET]", words_max=3),
        CommandSpec("save", refuse, 2, _ADMIN, "Refused: there is no file of users."),
        CommandSpec("setuser", refuse, -3, _ADMIN, "Refused: there is one user.", "<user> [<rule> ...]"),
        CommandSpec("users", users, 2, _ADMIN, "The names of all users."),
        CommandSpec("whoami", whoami, 2, _READ, "The user of this connection."),
    )
    return CommandSpec("acl", None, -2, summary="Users and what they may do.", since="6.0.0", subcommands=subcommands)
