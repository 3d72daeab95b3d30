"""The RESP port: Valkey's client protocol on asyncio, and the table of commands it answers.

`standard_registry()` knows the commands of a connection itself; the node adds its own. Main thread.
"""

from clusterbus.runtime.resp.client import Client
from clusterbus.runtime.resp.introspection import standard_registry
from clusterbus.runtime.resp.key_specs import KeySpec
from clusterbus.runtime.resp.registry import CommandSpec, Handler, Registry
from clusterbus.runtime.resp.reply import (
    OK,
    ErrorReply,
    NullArray,
    Push,
    Pushes,
    Reply,
    SetOf,
    Status,
    Verbatim,
    error,
)
from clusterbus.runtime.resp.server import RespServer

__all__ = [
    "OK",
    "Client",
    "CommandSpec",
    "ErrorReply",
    "Handler",
    "KeySpec",
    "NullArray",
    "Push",
    "Pushes",
    "Registry",
    "Reply",
    "RespServer",
    "SetOf",
    "Status",
    "Verbatim",
    "error",
    "standard_registry",
]
