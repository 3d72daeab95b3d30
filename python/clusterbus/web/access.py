"""Who may read the port: the password of `requirepass`, by basic or bearer authentication.

Owns that decision. Must never show a password, nor tell by its time how much of one was right. Main thread.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

from aiohttp import web

from clusterbus.config import Config

MAY_READ: Final = web.RequestKey("may_read", bool)
"""Whether who asks may read all, as the server found; for handlers of paths that are open to all."""


def may_read(config: Config, authorization: str) -> bool:
    """Whether a request with this header Authorization ("" for none) may read. As at the client port there is one
    user, `default`, and without `requirepass` everybody may.
    """
    if not config.requirepass:
        return True
    scheme, _, value = authorization.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return _is_same(value.encode(), config.requirepass)
    if scheme.lower() != "basic":
        return False
    try:
        user, colon, password = base64.b64decode(value, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    is_right = _is_same(password, config.requirepass)
    return bool(colon) and user in (b"", b"default") and is_right


def _is_same(given: bytes, password: str) -> bool:
    return hmac.compare_digest(given, password.encode())
