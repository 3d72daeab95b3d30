"""The directives that say who may join: their values, and what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clusterbus.config import Config
from clusterbus.errors import ConfigError

from tests.peers.tls import Certificates


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The directives of a bus over mutual TLS."""
    files = Certificates.issue(tmp_path_factory.mktemp("certificates"))
    return {name.replace("-", "_"): value for name, value in files.directives().items()} | {"tls_port": 7001}


def test_everything_is_open_by_default() -> None:
    config = Config()
    closed = {
        "cluster-bus-port-protected-mode": "no",
        "cluster-allow-node-ids": "",
        "cluster-allow-networks": "",
        "cluster-allow-certificate-names": "",
        "cluster-pin-certificates": "no",
        "cluster-label": "",
    }
    assert {name: config.text(name) for name in closed} == closed


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("cluster-allow-networks", "10.0.0.0/8 ::1 192.0.2.7", "10.0.0.0/8 ::1/128 192.0.2.7/32"),
        ("cluster-allow-node-ids", f"{'a' * 40} {'a' * 40}", "a" * 40),
        ("cluster-label", "blue/eu-1", "blue/eu-1"),
        ("cluster-epoch-jump-max", "0", "0"),
    ],
)
def test_values_are_kept_in_one_form(name: str, text: str, shown: str) -> None:
    config = Config()
    config.set(name, text)
    assert config.text(name) == shown
    config.set(name, Config().text(name))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cluster-allow-networks", "10.0.0.1/8"),
        ("cluster-allow-networks", "10.0.0.0/33"),
        ("cluster-allow-networks", "example.org"),
        ("cluster-allow-node-ids", "a"),
        ("cluster-allow-node-ids", "A" * 40),
        ("cluster-label", "a b"),
        ("cluster-label", "a,b"),
        ("cluster-label", "x" * 65),
        ("cluster-pin-certificates", "yes"),
        ("cluster-epoch-jump-max", "-1"),
    ],
)
def test_other_values_are_refused_by_name(name: str, text: str) -> None:
    config = Config()
    before = config.text(name)
    with pytest.raises(ConfigError, match=name):
        config.set(name, text)
    assert config.text(name) == before


@pytest.mark.parametrize("name", ["a.*.org", "*", "b\x07", "x" * 256])
def test_names_that_no_certificate_has_are_refused(name: str, tls: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="cluster-allow-certificate-names"):
        Config.from_keywords(**tls, cluster_allow_certificate_names=[name])


def test_protected_mode_refuses_a_bus_that_nobody_authenticates(tls: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tls-cluster is disabled.*cluster-bus-port-protected-mode no"):
        Config.from_keywords(cluster_bus_port_protected_mode=True)
    with pytest.raises(ConfigError, match="tls-auth-clients"):
        Config.from_keywords(**(tls | {"tls_auth_clients": "optional"}), cluster_bus_port_protected_mode=True)
    config = Config.from_keywords(**tls, cluster_bus_port_protected_mode=True)
    with pytest.raises(ConfigError, match="tls-cluster is disabled"):
        config.set("tls-cluster", "no")
    assert config.tls_cluster
    # The pair is judged by what it leads to, in either order.
    config.set_many([("tls-cluster", "no"), ("cluster-bus-port-protected-mode", "no")])
    with pytest.raises(ConfigError, match="tls-cluster is disabled"):
        config.set("cluster-bus-port-protected-mode", "yes")
    config.set_many([("cluster-bus-port-protected-mode", "yes"), ("tls-cluster", "yes")])
    path = tmp_path / "node.conf"
    path.write_text("cluster-bus-port-protected-mode yes\n")
    with pytest.raises(ConfigError, match="protected-mode"):
        Config.from_arguments([str(path)])


@pytest.mark.parametrize(
    "directive", [{"cluster_allow_certificate_names": "a.org"}, {"cluster_pin_certificates": "key"}]
)
def test_what_looks_at_certificates_needs_mutual_tls(directive: dict[str, str], tls: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="tls-cluster yes"):
        Config.from_keywords(**directive)
    Config.from_keywords(**tls, **directive)
