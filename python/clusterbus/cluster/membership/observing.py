"""What an observer (`cluster-observer yes`) does not do: own slots, vote, stand, or bring epochs into motion.

Owns that list. An observer is a primary without slots, as every new node is, which Valkey's rules already keep from
voting and standing; here is what else could give it a part. To the votes on slots among clusterbus nodes it is a server
of another kind, which is not asked: it answers no letter and tells no tags. Main thread. Beyond the source.
"""

from __future__ import annotations

from clusterbus.cluster.core import Core
from clusterbus.errors import ConfigError, StateError


def is_on(core: Core) -> bool:
    """Whether this node only observes."""
    return core.config.cluster_observer


def refuse(core: Core, what: str) -> None:
    """Raises StateError if this node is an observer: it does not do `what`, as in "owns no slots"."""
    if core.config.cluster_observer:
        raise StateError(f"This node is an observer (cluster-observer yes): it {what}")


def check_saved(core: Core) -> None:
    """Raises ConfigError if nodes.conf makes an observer something else."""
    if core.config.cluster_observer and (core.myself.slot_bits or core.myself.is_replica):
        what = "a replica" if core.myself.is_replica else "a primary with slots"
        raise ConfigError(f"cluster-observer yes: this node is {what}, as nodes.conf says")
