"""Certificates for tests: one authority that the servers trust, and one that they do not.

They are written as PEM files once in a test session, because servers take file names. `client_context` is for raw
sockets of clients.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """The files of one authority: its certificate, and a certificate for 127.0.0.1 with its key."""

    ca_cert_file: Path
    cert_file: Path
    key_file: Path

    @classmethod
    def issue(cls, folder: Path) -> Certificates:
        """A new authority and one certificate of it, written below `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        leaf = authority.issue_cert("127.0.0.1", "localhost")
        files = cls(folder / "ca.pem", folder / "node.pem", folder / "node.key")
        authority.cert_pem.write_to_path(files.ca_cert_file)
        leaf.private_key_pem.write_to_path(files.key_file)
        for position, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(files.cert_file, append=position > 0)
        return files

    def directives(self) -> dict[str, str]:
        """The server directives that use these files for the bus and for the client port."""
        return {
            "tls-cluster": "yes",
            "tls-cert-file": str(self.cert_file),
            "tls-key-file": str(self.key_file),
            "tls-ca-cert-file": str(self.ca_cert_file),
            "tls-auth-clients": "yes",
        }

    def client_context(self, *, with_certificate: bool = True) -> ssl.SSLContext:
        """A client that trusts this authority and shows its certificate, unless `with_certificate` is False."""
        context = ssl.create_default_context(cafile=str(self.ca_cert_file))
        if with_certificate:
            context.load_cert_chain(str(self.cert_file), str(self.key_file))
        return context
