"""Config: values, errors with the nearest name, atomic changes, listeners, rewriting (S11)."""

from __future__ import annotations

import io
import socket
import sys
import types
import typing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clusterbus.config import BY_NAME, DIRECTIVES, WITH_EFFECT, Config, Directive
from clusterbus.config.rewrite import rewritten
from clusterbus.errors import ConfigError

from tests.peers.tls import Certificates


def refusal(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        Config.from_arguments(arguments)
    return str(caught.value)


# ---------------------------------------------------------------- the table


def test_every_directive_is_a_typed_attribute_and_back() -> None:
    hints = typing.get_type_hints(Config)
    attributes = {directive.attribute for directive in WITH_EFFECT}
    assert set(hints) - {"config_file", "without_effect", "renamed_commands", "asks_for_free_port"} == attributes
    config = Config()
    for directive in WITH_EFFECT:
        hint, value = hints[directive.attribute], getattr(config, directive.attribute)
        expected = typing.get_origin(hint) or hint
        if expected is types.UnionType:
            assert isinstance(value, hint), directive.name
        else:
            assert type(value) is expected, directive.name


@pytest.mark.parametrize("directive", DIRECTIVES, ids=lambda d: d.name)
def test_a_value_written_as_text_is_the_value_read(directive: Directive) -> None:
    text = Config().text(directive.name)
    words = text.split() or [""] if directive.kind.several else [text]
    assert directive.kind.format(directive.kind.parse(words)) == text
    assert directive.doc.endswith(".")
    assert directive.kind.syntax()


def test_defaults_are_valkeys_but_for_io_threads() -> None:
    config = Config()
    assert (config.port, config.bus_port, config.io_threads) == (6379, 16379, 2)
    assert config.cluster_node_timeout == 15000
    assert config.cluster_config_file == "nodes.conf"
    assert config.cluster_require_full_coverage is True
    assert config.tls_auth_clients == "yes"
    assert [(a.ip, a.optional, a.wildcard) for a in config.bind_addresses] == [
        ("0.0.0.0", False, True),
        ("::", True, True),
    ]


# ---------------------------------------------------------------- reading


def test_file_then_stdin_then_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "node.conf"
    path.write_text("port 1001\ntimeout 1\nmaxclients 1\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"timeout 2\nmaxclients 2\n")))
    config = Config.from_arguments([str(path), "-", "--maxclients", "3"])
    assert (config.port, config.timeout, config.maxclients) == (1001, 2, 3)
    assert config.config_file == str(path)


def test_keywords_are_python_values(tmp_path: Path) -> None:
    config = Config.from_keywords(
        port=7000,
        io_threads=3,
        io_threads_always_active=True,
        bind=["127.0.0.1", "-::1"],
        dir=tmp_path,
        requirepass="two words",
        cluster_link_sendbuf_limit="1mb",
        cluster_announce_ip=None,
    )
    assert (config.port, config.io_threads, config.io_threads_always_active) == (7000, 3, True)
    assert config.bind == ("127.0.0.1", "-::1")
    assert config.dir == str(tmp_path)
    assert config.requirepass == "two words"
    assert config.cluster_link_sendbuf_limit == 1024 * 1024


def test_keywords_win_over_their_file(tmp_path: Path) -> None:
    path = tmp_path / "node.conf"
    path.write_text("port 7001\ntimeout 9\n")
    config = Config.from_keywords(config_file=str(path), port=7002)
    assert (config.port, config.timeout) == (7002, 9)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("10", 10),
        ("10b", 10),
        ("1k", 1000),
        ("1kb", 1024),
        ("1M", 10**6),
        ("2mB", 2 << 20),
        ("1g", 10**9),
        ("1GB", 1 << 30),
    ],
)
def test_memory_units(text: str, size: int) -> None:
    assert Config.from_arguments(["--cluster-link-sendbuf-limit", text]).cluster_link_sendbuf_limit == size


@pytest.mark.parametrize("text", ["", "-1", "1x", "kb", "1.5mb", "1 kb", "99999999999999999999gb"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    assert refusal("--cluster-link-sendbuf-limit", text) == (
        f"command line: cluster-link-sendbuf-limit '{text}': argument must be a memory value"
    )


def test_save_is_accepted_repeated_and_emptied() -> None:
    assert Config.from_arguments(["--save", "900", "1", "--save", "300 10"]).text("save") == "900 1 300 10"
    assert Config.from_arguments(["--save", "900 1", "--save", ""]).text("save") == ""
    assert "Invalid save parameters" in refusal("--save", "900")


@pytest.mark.parametrize(
    ("found", "ip"),
    [
        ([(socket.AF_INET6, "::7"), (socket.AF_INET, "127.0.0.7"), (socket.AF_INET, "127.0.0.8")], "127.0.0.7"),
        ([(socket.AF_INET6, "::7")], "::7"),
    ],
)
def test_bind_takes_host_names(
    monkeypatch: pytest.MonkeyPatch, found: list[tuple[socket.AddressFamily, str]], ip: str
) -> None:
    def getaddrinfo(host: str, *_rest: object, **_keywords: object) -> list[Any]:
        if host != "here":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(family, socket.SOCK_STREAM, 6, "", (address, 0)) for family, address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    config = Config.from_keywords(bind=["here", "-here", "-there", "127.0.0.1"])
    assert [(a.ip, a.optional) for a in config.bind_addresses] == [(ip, False), ("127.0.0.1", False)]
    with pytest.raises(ConfigError, match=r"^bind there: can't resolve 'there': Name or service not known$"):
        _ = Config.from_keywords(bind=["there"]).bind_addresses


def test_relative_files_are_looked_up_in_dir(tmp_path: Path) -> None:
    config = Config.from_keywords(dir=str(tmp_path), logfile="a.log")
    assert config.path("logfile") == str(tmp_path / "a.log")
    assert config.path("cluster-config-file") == str(tmp_path / "nodes.conf")
    assert config.path("pidfile") == ""


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--prt", "1"), "command line: unknown directive 'prt' (nearest: port)"),
        (
            ("--cluster-node-timout", "1"),
            "unknown directive 'cluster-node-timout' (nearest: cluster-node-timeout)",
        ),
        (("--io-threads", "many"), "io-threads 'many': argument couldn't be parsed into an integer"),
        (("--io-threads", "0"), "io-threads '0': argument must be between 1 and 256 inclusive"),
        (("--io-threads", "257"), "io-threads '257': argument must be between 1 and 256 inclusive"),
        (("--port", "65536"), "port '65536': argument must be between 0 and 65535 inclusive"),
        (("--port", "07"), "argument couldn't be parsed into an integer"),
        (("--port",), "port: wrong number of arguments"),
        (("--port", "1", "2"), "port '1' '2': wrong number of arguments"),
        (("--loglevel", "loud"), "must be one of the following: debug, verbose, notice, warning, nothing"),
        (("--tls-cluster", "maybe"), "argument must be 'yes' or 'no'"),
        (("--cluster-enabled", "maybe"), "cluster-enabled 'maybe': argument must be 'yes' or 'no'"),
        (("--dir", "/nowhere/at/all"), "dir '/nowhere/at/all': No such file or directory"),
        (("--cluster-config-file", ""), "cluster-config-file can't be empty"),
        (("--bind", "256.0.0.1:1"), "invalid bind address '256.0.0.1:1'"),
        (("--bind", *["127.0.0.1"] * 17), "Too many bind addresses specified."),
        (("--port", "55536"), "port 55536: the cluster bus would listen on 65536, above 65535"),
        (("--port", "7000", "--cluster-port", "7000"), "cluster-port 7000 is a client port already"),
        (("--tls-port", "6379"), "port and tls-port are both 6379"),
        (("--cluster-announce-hostname", "a_b"), "Hostnames may only contain alphanumeric characters"),
        (("--cluster-announce-hostname", "a" * 256), "Hostnames must be less than 256 characters"),
    ],
)
def test_a_refusal_says_what_is_wrong_in_one_line(arguments: tuple[str, ...], text: str) -> None:
    message = refusal(*arguments)
    assert text in message
    assert "\n" not in message


@pytest.mark.parametrize("bad", ["a\nb", "a,b", "a=b", "a b", "a\x00b", "a\x7fb", 'a"b', "é"])
@pytest.mark.parametrize(
    "name", ["cluster-announce-ip", "cluster-announce-hostname", "cluster-announce-human-nodename"]
)
def test_what_would_break_gossip_or_nodes_conf_is_refused(name: str, bad: str) -> None:
    """H12, for the names and addresses that we announce ourselves."""
    with pytest.raises(ConfigError):
        Config.from_keywords(**{name.replace("-", "_"): bad})
    with pytest.raises(ConfigError):
        Config().set(name, bad)


def test_an_error_in_a_file_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "node.conf"
    path.write_text("port 7000\n\nio-threads x\n")
    assert refusal(str(path)).startswith(f"{path}:3: io-threads 'x': ")
    path.write_text("portt 7000\n")
    assert refusal(str(path)) == f"{path}:1: unknown directive 'portt' (nearest: port)"
    assert refusal(str(tmp_path / "none")).endswith("none': No such file or directory")


@pytest.mark.parametrize("name", ["xyzzy", "foo", "password", "a"])
def test_no_name_is_offered_that_is_not_near(name: str) -> None:
    assert refusal(f"--{name}", "1") == f"command line: unknown directive {name!r}"
    with pytest.raises(ConfigError) as caught:
        Config.from_keywords(None, **{name: 1})
    assert str(caught.value) == f"unknown keyword {name!r}"


def test_a_password_is_not_shown_in_errors() -> None:
    assert "secret" not in refusal("--requirepass", "secret", "word")


def test_keywords_that_do_not_exist_or_fit() -> None:
    with pytest.raises(ConfigError, match=r"unknown keyword 'io_thread' \(nearest: io_threads\)"):
        Config.from_keywords(io_thread=3)
    with pytest.raises(ConfigError, match="port: dict is no value of a directive"):
        Config.from_keywords(port={})


def test_tls_without_its_files_is_one_clear_error(certificates: Certificates) -> None:
    assert refusal("--tls-cluster", "yes") == ("tls-cluster yes needs tls-cert-file, tls-key-file, tls-ca-cert-file")
    assert refusal("--tls-port", "7001", "--tls-key-file", "k").startswith("tls-port needs tls-cert-file, tls-ca")
    files = ["--tls-cert-file", "/no/cert", "--tls-key-file", "k", "--tls-ca-cert-file", "c"]
    assert refusal("--tls-cluster", "yes", *files) == "tls-cert-file '/no/cert': No such file or directory"


@pytest.mark.parametrize(
    ("keywords", "bus_port"),
    [
        ({"port": 7000}, 17000),
        ({"port": 7000, "cluster_port": 9}, 9),
        ({"port": 0}, 10000),
        ({"port": 55535}, 65535),
    ],
)
def test_the_bus_port_follows_the_client_port(keywords: dict[str, Any], bus_port: int) -> None:
    assert Config.from_keywords(**keywords).bus_port == bus_port


# ---------------------------------------------------------------- CONFIG GET and SET


def test_get_takes_globs_and_any_case() -> None:
    config = Config()
    assert config.get("PORT") == {"port": "6379"}
    assert set(config.get("cluster-announce-???*-port")) == {
        "cluster-announce-tls-port",
        "cluster-announce-bus-port",
        "cluster-announce-client-port",
        "cluster-announce-client-tls-port",
    }
    assert set(config.get("io-threads", "tls-p?rt", "[^a-z]*")) == {"io-threads", "tls-port"}
    assert set(config.get("*")) == set(BY_NAME)
    assert config.get("nothing") == {}


def set_refusal(config: Config, *pairs: tuple[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        config.set_many(pairs)
    return str(caught.value)


def test_set_is_all_or_nothing() -> None:
    config = Config()
    config.set_many([("timeout", "5"), ("MAXCLIENTS", "7"), ("bind", "x")][:2])
    assert (config.timeout, config.maxclients) == (5, 7)
    message = set_refusal(config, ("timeout", "6"), ("maxclients", "0"))
    assert message == (
        "CONFIG SET failed (possibly related to argument 'maxclients') - "
        "argument must be between 1 and 4294967295 inclusive"
    )
    assert (config.timeout, config.maxclients) == (5, 7)


def test_set_refuses_the_unknown_the_immutable_and_the_repeated() -> None:
    config = Config()
    assert set_refusal(config, ("timeout", "1"), ("bogus", "x")) == (
        "Unknown option or number of arguments for CONFIG SET - 'bogus'"
    )
    assert set_refusal(config, ("tcp-backlog", "1")) == (
        "CONFIG SET failed (possibly related to argument 'tcp-backlog') - can't set immutable config"
    )
    assert set_refusal(config, ("timeout", "1"), ("timeout", "2")) == (
        "CONFIG SET failed (possibly related to argument 'timeout') - duplicate parameter"
    )
    assert config.timeout == 0


def test_a_listener_sees_changes_of_its_directives_only() -> None:
    config = Config()
    seen: list[tuple[int, frozenset[str]]] = []
    config.on_change(lambda c, names: seen.append((c.io_threads, names)), "io-threads")
    config.set("timeout", "3")
    config.set("io-threads", "2")
    assert seen == []
    config.set_many([("io-threads", "4"), ("timeout", "4")])
    assert seen == [(4, frozenset({"io-threads", "timeout"}))]
    with pytest.raises(ConfigError, match="nearest: io-threads"):
        config.on_change(lambda c, names: None, "io-thread")


def test_a_listener_that_refuses_takes_everything_back() -> None:
    config = Config()
    applied: list[int] = []

    def refuse(config: Config, names: frozenset[str]) -> None:
        raise ConfigError("no more threads")

    config.on_change(lambda c, names: applied.append(c.io_threads), "io-threads")
    config.on_change(refuse, "timeout")
    message = set_refusal(config, ("io-threads", "5"), ("timeout", "9"))
    assert message.endswith("no more threads")
    assert (config.io_threads, config.timeout) == (2, 0)
    assert applied == [5, 2]


def test_certificates_are_offered_again_under_the_same_name(certificates: Certificates) -> None:
    """A renewed certificate has the same file name as the old one: setting the name again reloads the file."""
    config = Config()
    seen: list[frozenset[str]] = []
    config.on_change(lambda c, names: seen.append(names), "tls-cert-file")
    config.set("tls-cert-file", "a.pem")
    config.set("tls-cert-file", "a.pem")
    assert seen == [frozenset({"tls-cert-file"})] * 2


def test_update_takes_python_values() -> None:
    config = Config()
    config.update(cluster_node_timeout=500, cluster_require_full_coverage=False, requirepass="a b")
    assert (config.cluster_node_timeout, config.cluster_require_full_coverage) == (500, False)
    assert config.requirepass == "a b"


def test_attributes_cannot_be_set_past_the_checks() -> None:
    with pytest.raises(AttributeError, match=r"update\(port=\.\.\.\)"):
        Config().port = 1


# ---------------------------------------------------------------- CONFIG REWRITE


def test_rewrite_keeps_comments_and_order_and_appends_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "node.conf"
    path.write_text(
        "# my node\nport 7000\n\ntimeout 1\ntimeout 2\nsave 900 1\nsave 300 10\ninclude /dev/null\nlogfile ''\n"
    )
    config = Config.from_arguments([str(path), "--dir", str(tmp_path)])
    config.set_many([("timeout", "30"), ("cluster-link-sendbuf-limit", "3mb"), ("requirepass", 'a "b')])
    config.rewrite()
    assert path.read_text() == (
        '# my node\nport 7000\n\ntimeout 30\nsave 900 1 300 10\ninclude /dev/null\nlogfile ""\n'
        "# Generated by CONFIG REWRITE\n"
        f'requirepass "a \\"b"\ndir {tmp_path}\ncluster-link-sendbuf-limit 3mb\n'
    )
    again = Config.from_arguments([str(path)])
    assert again.get("*") == config.get("*")
    config.set("maxclients", "9")
    config.rewrite()
    assert path.read_text().count("# Generated by CONFIG REWRITE") == 1
    assert path.read_text().endswith("\nmaxclients 9\n")
    assert [p.name for p in tmp_path.iterdir()] == ["node.conf"]


def test_rewrite_ends_lines_where_the_parser_does(tmp_path: Path) -> None:
    """A comment may hold what Unicode calls the end of a line, as a form feed; cut there, half of it is no comment."""
    path = tmp_path / "node.conf"
    comments = "# a\x0cport 1\n#\x0b\x1c\x85\u2028dir /\n# dos\r\n"
    path.write_bytes(f"{comments}\ntimeout 1\r\n".encode())
    config = Config.from_arguments([str(path), "--dir", str(tmp_path)])
    config.rewrite()
    assert path.read_bytes() == f"{comments}\ntimeout 1\n# Generated by CONFIG REWRITE\ndir {tmp_path}\n".encode()
    assert Config.from_arguments([str(path)]).get("*") == config.get("*")
    assert rewritten(b"", {"timeout": "7"}) == b"# Generated by CONFIG REWRITE\ntimeout 7\n"


def test_rewrite_needs_a_file_it_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^The server is running without a config file$"):
        Config().rewrite()
    path = tmp_path / "node.conf"
    path.write_text("port 7000\n")
    config = Config.from_arguments([str(path), "--port", "7001"])

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ConfigError, match="Rewriting config file: No space left on device"):
        config.rewrite()
    assert path.read_text() == "port 7000\n"
    assert [p.name for p in tmp_path.iterdir()] == ["node.conf"]


def test_a_rewritten_file_keeps_that_nothing_is_snapshot(tmp_path: Path) -> None:
    """Without a line of its own, valkey-server would take its default and write snapshots."""
    path = tmp_path / "node.conf"
    path.write_text("port 7001\n")
    config = Config.from_arguments([str(path)])
    assert config.text("save") == "3600 1 300 100 60 10000"
    config.set("save", "")
    config.rewrite()
    assert 'save ""' in path.read_text().splitlines()
