"""What every tool that looks at a cluster takes: seeds, and redis-cli's words for the password and TLS.

Owns these arguments and their meaning; a wrong one is one line on stderr and exit status 2. Must never show a password.
Main thread.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from getpass import getpass
from typing import Any, Final, NoReturn

from clusterbus.errors import ConfigError
from clusterbus.member.membership.seeds import parse
from clusterbus.survey.access import PASSWORD_VARIABLES, Access, tls_context

EXIT_BAD_USAGE: Final = 2
_TLS_WORDS: Final = {
    "cacert": ("FILE", "authorities that sign the nodes' certificates (default: those of the system)"),
    "cacertdir": ("FOLDER", "the same as a folder of files"),
    "cert": ("FILE", "certificate to show to the nodes"),
    "key": ("FILE", "its private key"),
}


class Arguments(argparse.ArgumentParser):
    """A parser whose complaints are one line each."""

    def __init__(self, name: str, summary: str) -> None:
        super().__init__(
            prog=f"clusterbus {name}",
            description=summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_USAGE)


def add_access(parser: argparse.ArgumentParser) -> None:
    """The seeds and how one gets in."""
    parser.add_argument("seeds", metavar="SEED", nargs="+", help="host:port of a node; the others are found from it")
    variables = " or ".join(PASSWORD_VARIABLES)
    parser.add_argument(
        "-a", "--pass", dest="password", metavar="PASSWORD", help=f"password (else that in {variables})"
    )
    parser.add_argument("--askpass", action="store_true", help="ask for the password at the terminal")
    parser.add_argument("--user", default="", help="user of the password, as ACLs have it")
    parser.add_argument("--tls", action="store_true", help="connect over TLS")
    for name, (metavar, text) in _TLS_WORDS.items():
        parser.add_argument(f"--{name}", metavar=metavar, default="", help=text)
    parser.add_argument("--insecure", action="store_true", help="take any certificate")


def access_of(given: argparse.Namespace) -> Access:
    """How one gets in. Raises ConfigError, which names the argument."""
    for seed in given.seeds:
        parse(seed)
    password = given.password if given.password is not None else _password()
    if given.askpass:
        password = getpass("password: ")
    if given.user and not password:
        raise ConfigError("--user needs a password, by -a or in the environment")
    if not given.tls:
        wanted = [f"--{name}" for name in (*_TLS_WORDS, "insecure") if getattr(given, name)]
        if wanted:
            raise ConfigError(f"{wanted[0]} means nothing without --tls")
        return Access(given.user, password)
    context = tls_context(
        ca_cert=given.cacert, ca_cert_dir=given.cacertdir, cert=given.cert, key=given.key, insecure=given.insecure
    )
    return Access(given.user, password, context)


def bus_tls(given: argparse.Namespace) -> dict[str, Any]:
    """The directives by which a node of this process speaks TLS on the bus. Files are those of the folder that the
    program was started in, not of the one that the node keeps its own in.
    """
    if not given.tls:
        return {}
    files = {"tls_cert_file": given.cert, "tls_key_file": given.key, "tls_ca_cert_file": given.cacert}
    files["tls_ca_cert_dir"] = given.cacertdir
    return {"tls_cluster": True} | {name: os.path.abspath(file) if file else "" for name, file in files.items()}


def _password() -> str:
    return next((os.environ[name] for name in PASSWORD_VARIABLES if os.environ.get(name)), "")


def parsed(parser: Arguments, arguments: Sequence[str]) -> tuple[argparse.Namespace, Access]:
    """The arguments and how one gets in; ends the process with one line for a mistake."""
    given = parser.parse_args(list(arguments))
    try:
        return given, access_of(given)
    except ConfigError as error:
        parser.error(str(error))
