"""`clusterbus doctor --bus`: one look as an observer on the bus, beside the questions at client ports.

Owns what is said about the observer itself. Must never leave it in the cluster: `survey.observer` has it forgotten,
also when doctor is interrupted. Main thread, in doctor's event loop.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import dataclass
from typing import Any

from clusterbus.cli.seed_arguments import bus_tls
from clusterbus.errors import ClusterBusError
from clusterbus.survey.access import Access
from clusterbus.survey.asking import Survey
from clusterbus.survey.observed import with_observer
from clusterbus.survey.observer import BusView, bus_view


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bus", action="store_true", help="join as an observer too, for a few seconds, and leave")
    parser.add_argument(
        "--announce-ip", default="", metavar="IP", help="with --bus: where the nodes reach this machine"
    )
    parser.add_argument("--label", default="", help="with --bus: the cluster's cluster-label")


@dataclass
class BusLook:
    """Looks on the bus, each as a new observer, until one cannot join: then there are none any more."""

    given: argparse.Namespace
    access: Access

    async def see(self) -> BusView | None:
        """What an observer saw, which has left by now; None if it could not join, which is said on stderr."""
        if not self.given.bus:
            return None
        logging.getLogger("clusterbus").addHandler(logging.NullHandler())
        try:
            view = await bus_view(self.given.seeds, self.access, timeout_s=self.given.timeout, **self._directives())
        except ClusterBusError as error:
            self.given.bus = False
            _say(f"not seen on the bus: {error}")
            return None
        for node_id, reason in view.untold.items():
            _say(f"{node_id} still knows the observer ({reason}); there: CLUSTER FORGET {view.node_id}")
        return view

    def add(self, survey: Survey, view: BusView | None) -> Survey:
        """The survey with that view among its answers."""
        if view is None:
            return survey
        unreached = {**view.one_sided, **view.unreached}
        return with_observer(survey, view.node_id, view.nodes, unreached, is_tls=self.access.tls is not None)

    def _directives(self) -> dict[str, Any]:
        given = self.given
        directives: dict[str, Any] = {"cluster_announce_ip": given.announce_ip, "cluster_label": given.label}
        return directives | bus_tls(given)


def _say(text: str) -> None:
    print(f"clusterbus doctor: {text}", file=sys.stderr)
