"""The certificates of the cluster: one authority, and for each node a certificate that can be issued anew at any time.

Owns the PEM files. Servers take file names, so each issue writes new files; only `replace` touches old ones.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    cert_file: Path
    key_file: Path


class Authority:
    """Issues certificates for 127.0.0.1, to be shown by servers and by clients."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self._issued = 0
        self.ca_file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca_file)

    def replace(self, pair: Pair, name: str) -> None:
        """Puts a new certificate and its key in the place of a pair's files, one after the other."""
        new = self.issue(name)
        new.key_file.replace(pair.key_file)
        new.cert_file.replace(pair.cert_file)

    def issue(self, name: str) -> Pair:
        self._issued += 1
        leaf = self._authority.issue_cert("127.0.0.1", "localhost")
        pair = Pair(self._folder / f"{name}-{self._issued}.pem", self._folder / f"{name}-{self._issued}.key")
        leaf.private_key_pem.write_to_path(pair.key_file)
        for position, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(pair.cert_file, append=position > 0)
        return pair

    def server_context(self, pair: Pair) -> ssl.SSLContext:
        """For a listener that wants to see a certificate of this authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.ca_file))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(pair.cert_file, pair.key_file)
        return context

    def client_context(self, pair: Pair) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        context.load_cert_chain(pair.cert_file, pair.key_file)
        return context
