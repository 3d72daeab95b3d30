"""The protocol of the cluster bus: state + input + now -> effects.

Theory of operation
-------------------

`ClusterState` is a function of its inputs: a link came up or went away, a packet came, time passed (`tick`, ten times a
second), an operator gave an order. Each input takes the time as an argument. What the state wants done it returns as
effects: dial, send, save, close, notify. It does nothing itself, so the same code runs on sockets and in a simulation.

**The life of a node.** A MEET, our operator's or a stranger's, begins a handshake: a `Node` with an id that we made up
and the flag HANDSHAKE. It is dialled, and the answer to our MEET or PING brings its true id. Gossip adds a node that we
do not know under the id that it gives; the node that is dialled must then answer under that id. A known node gets a
PING at least every half node timeout, and each heartbeat that it sends says who it is, what it owns and, about a tenth
of the cluster, whom it hears. If it owes us a PONG for longer than the node timeout, we hold it PFAIL. If most
primaries that own slots report it, it is FAIL, and every node is sent that. A node that answers again loses both, a
primary with slots only after a while. A node that most members report, whoever owns slots, is unreachable: each member
counts that for itself. A node at whose address another one answers is FAIL at once, and has no address until it sends
us a packet. One that answers and never dials us does not know us, and gets a MEET again, unless it may have been told
to forget us. A node ends by FORGET, or by its own word that it leaves; then its id stays out for a while
(`cluster-blacklist-ttl`), so that the gossip of others does not bring it back.

**The life of a link.** Two nodes have two TCP connections, one dialled by each. We send PING on the link that we
dialled and take its PONG there; requests of the peer come in on the link that it dialled. An outbound link has its node
from the start. An inbound link belongs to no node until a packet says whose it is: the sender must be known, or send a
MEET, and must not have another inbound link that is alive. A link is then its node's until it ends, and packets under
another id end it. When the node is known, not in handshake, the effect `BindLink` tells the engine whose link it is. A
lost outbound link is dialled again with growing delay; one on which no PONG comes for a node timeout is dropped.

**Epochs.** The current epoch is the greatest that was seen anywhere. A config epoch belongs to one primary and decides
who owns a slot: the claim under the greater config epoch wins. An election takes the next current epoch; a voter gives
one vote in an epoch, and the winner takes the epoch as its config epoch. Two primaries that share a config epoch settle
it by id. An epoch never goes down, and it is on disk before a packet announces it; only a disk that takes long for that
lets heartbeats tell of it before, never votes (H47).

**Quiet heartbeats.** Nearly every heartbeat repeats what its receiver knows. Those that do are recognised on I/O
workers by the published view, and come in as one input without their packets (`heartbeats/quiet`).

The rooms
---------

The hub, in reading order:

    events     what users are notified of
    effects    what the state asks its driver to do
    constants  numbers of the protocol, and the limits of this implementation
    core       the data that all rules share, and the few ways to change it that keep it in step
    state      `ClusterState`: the inputs, the outputs, what may be read
    receive    a packet: whose it is, and which rules apply to it
    cron       the tick: who is dialled, who is pinged, who is late
    pubsub     messages of users

Each rule is a function over `Core` in one of six rooms: `membership` (who is in the cluster and where), `heartbeats`
(what goes out, what comes in), `failover` (failures, votes, roles, epochs), `claims` (slots that a program takes, and
leases on them), `operator` (orders, descriptions, nodes.conf), over the plain data of `model`. `history` keeps what
they changed, and who said so.
"""
