"""Which process owns the other end of a connection on 127.0.0.1 (Linux).

The kernel answers a question about one socket by its ports (NETLINK_SOCK_DIAG, `inet_diag_req_v2`): /proc/net/tcp would
list every socket of the machine each time, which on a busy one takes longer than the connection lives.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import Final

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
NLM_F_REQUEST: Final = 1
ALL_STATES: Final = 0xFFFFFFFF
NO_COOKIE: Final = 0xFFFFFFFF
LOOPBACK: Final = socket.inet_aton("127.0.0.1").ljust(16, b"\0")
HEADER: Final = struct.Struct("=IHHII")
REQUEST: Final = struct.Struct("=BBBBI")
ENDS: Final = struct.Struct("!HH16s16s")
INTERFACE_AND_COOKIE: Final = struct.Struct("=III")
INODE_OFFSET_BYTES: Final = HEADER.size + 4 + ENDS.size + INTERFACE_AND_COOKIE.size + 16
ANSWER_LEN_BYTES: Final = 8192


def inode_of(local_port: int, remote_port: int) -> int:
    """The inode of the TCP socket with these ports; 0 if there is none. Raises OSError."""
    body = (
        REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, ALL_STATES)
        + ENDS.pack(local_port, remote_port, LOOPBACK, LOOPBACK)
        + INTERFACE_AND_COOKIE.pack(0, NO_COOKIE, NO_COOKIE)
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as kernel:
        kernel.send(HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + body)
        answer = kernel.recv(ANSWER_LEN_BYTES)
    if HEADER.unpack_from(answer)[1] != SOCK_DIAG_BY_FAMILY:
        return 0
    return int(struct.unpack_from("=I", answer, INODE_OFFSET_BYTES)[0])


def owns(pid: int, inode: int) -> bool:
    """Whether a process has that socket among its descriptors."""
    link, folder = f"socket:[{inode}]", f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{name}") == link:
                    return True
    return False
