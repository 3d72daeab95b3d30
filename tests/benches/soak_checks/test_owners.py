"""Who dialled: the kernel names the socket, and its descriptors the process."""

from __future__ import annotations

import os
import socket

from soak.world.owners import inode_of, owns


def test_the_other_end_of_a_connection_is_found_and_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as dialled:
            accepted, _address = listening.accept()
            with accepted:
                inode = inode_of(accepted.getpeername()[1], port)
                assert inode == os.fstat(dialled.fileno()).st_ino
                assert owns(os.getpid(), inode)
                assert not owns(1, inode)
                assert not owns(2**22 + 1, inode)
        assert inode_of(1, 2) == 0
