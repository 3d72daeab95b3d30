"""client-output-buffer-limit: named classes change and the others stay, in a file, by CONFIG SET and by keywords."""

from __future__ import annotations

from pathlib import Path

import pytest
from clusterbus.config import Config
from clusterbus.errors import ConfigError

NAME = "client-output-buffer-limit"
DEFAULT = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"


def test_the_default_is_valkeys() -> None:
    assert Config().text(NAME) == DEFAULT


def test_lines_of_a_file_add_up_as_in_valkey_conf(tmp_path: Path) -> None:
    file = tmp_path / "node.conf"
    file.write_text(f"{NAME} normal 1kb 0 0\n{NAME} replica 256mb 64mb 60\n{NAME} pubsub 1mb 512kb 10\n")
    config = Config.from_arguments([str(file), f"--{NAME}", "normal", "2kb", "1k", "5"])
    assert config.text(NAME) == "normal 2048 1000 5 slave 268435456 67108864 60 pubsub 1048576 524288 10"
    limit = config.client_output_buffer_limit.by_class["pubsub"]
    assert (limit.hard_bytes, limit.soft_bytes, limit.soft_s) == (1048576, 524288, 10)


def test_a_change_of_one_class_leaves_the_others_and_a_refused_one_leaves_all() -> None:
    config = Config()
    config.set(NAME, "PUBSUB 1mb 0 0 normal 5 6 7")
    changed = "normal 5 6 7 slave 268435456 67108864 60 pubsub 1048576 0 0"
    assert config.text(NAME) == changed
    for text in (
        "pubsub 1 2",
        "master 1 2 3",
        "pubsub 1 2 x",
        "pubsub 1 -2 3",
        "pubsub 1 2 -3",
        "normal 9 9 9 foo 1 2 3",
    ):
        with pytest.raises(ConfigError, match=NAME):
            config.set(NAME, text)
        assert config.text(NAME) == changed
    config.set(NAME, "")
    assert config.text(NAME) == changed


def test_a_listener_that_refuses_gets_the_old_limits_back() -> None:
    config = Config()

    def refuse(_config: Config, _names: frozenset[str]) -> None:
        if config.client_output_buffer_limit.by_class["pubsub"].hard_bytes == 1:
            raise ConfigError("too small")

    config.on_change(refuse, NAME)
    with pytest.raises(ConfigError, match="too small"):
        config.set(NAME, "pubsub 1 1 1")
    assert config.text(NAME) == DEFAULT


def test_keywords_take_the_same_text() -> None:
    config = Config.from_keywords(client_output_buffer_limit="pubsub 1mb 0 0")
    assert config.text(NAME) == "normal 0 0 0 slave 268435456 67108864 60 pubsub 1048576 0 0"
    config.update(client_output_buffer_limit="pubsub 2mb 0 0")
    assert config.client_output_buffer_limit.by_class["pubsub"].hard_bytes == 2 * 1024 * 1024


def test_rewrite_puts_all_classes_on_one_line_that_reads_back(tmp_path: Path) -> None:
    file = tmp_path / "node.conf"
    file.write_text(f"# limits\n{NAME} normal 1 2 3\nport 7000\n{NAME} pubsub 4 5 6\n")
    config = Config.from_arguments([str(file)])
    config.set(NAME, "pubsub 7 8 9")
    config.rewrite()
    shown = "normal 1 2 3 slave 268435456 67108864 60 pubsub 7 8 9"
    assert file.read_text() == f"# limits\n{NAME} {shown}\nport 7000\n"
    assert Config.from_arguments([str(file)]).text(NAME) == shown
