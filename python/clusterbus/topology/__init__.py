"""The topology that clusterbus nodes push, for cluster clients: redis-py's `RedisCluster` and valkey-py's
`ValkeyCluster`.

    client = redis.RedisCluster("10.0.0.1", 7000)
    with clusterbus.topology.attach(client, ["10.0.0.1:7000", "10.0.0.2:7000"]):
        ...

Its files in reading order:

    picture  what a client knows: a picture, and the changes applied to it
    feed     the connection to one of the nodes that push, in a thread of its own
    adapter  `attach`: a client asks the picture, and no data node

Needs no package but the client's own. Knows nothing of a node's inside: it is for programs that are no members.
"""

from clusterbus.topology.adapter import Attached, attach
from clusterbus.topology.feed import FeedState

__all__ = ["Attached", "FeedState", "attach"]
