"""New certificates while messages and heartbeats travel: no link is lost, and no message, also with a new authority."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from clusterbus import Bus, Message

from tests.bus.harness import settings, well
from tests.loops import Run, until
from tests.peers.authorities import Authority, Files, replace
from tests.peers.ports import free_port

PUBLISH_PAUSE_S = 0.002
DEADLINE_S = 30.0


class Traffic:
    """Numbered messages from one member to another, in both directions, all the time."""

    def __init__(self, buses: tuple[Bus, Bus]) -> None:
        self.buses = buses
        self.sent = [0, 0]
        self.heard: list[list[int]] = [[], []]

    async def publish(self, source: int) -> None:
        while True:
            await self.buses[source].publish(f"from-{source}", str(self.sent[source]).encode())
            self.sent[source] += 1
            await asyncio.sleep(PUBLISH_PAUSE_S)

    async def listen(self, sink: int) -> None:
        async with self.buses[sink].subscribe(f"from-{1 - sink}") as messages:
            async for message in messages:
                assert isinstance(message, Message)
                self.heard[sink].append(int(message.message))

    def has_arrived(self) -> bool:
        return all(len(self.heard[1 - source]) == self.sent[source] for source in (0, 1))

    async def goes_on(self) -> None:
        """Waits until more has been heard on both sides."""
        before = [len(heard) for heard in self.heard]
        await until(lambda: all(len(heard) > seen + 20 for heard, seen in zip(self.heard, before, strict=True)))


@asynccontextmanager
async def under_load(
    folder: Path, authority: Authority, io_threads: int
) -> AsyncIterator[tuple[tuple[Bus, Bus], list[Files], Traffic]]:
    files = [Files(folder / f"files-{name}", authority) for name in "ab"]
    words = [
        settings(
            folder / name,
            **of_node.keywords(),
            port=0,
            tls_port=free_port(),
            tls_auto_reload_interval=1,
            io_threads=io_threads,
        )
        for name, of_node in zip("ab", files, strict=True)
    ]
    async with Bus(**words[0]) as first, Bus(**words[1]) as second:
        await second.join([f"127.0.0.1:{first.port}"])
        await until(lambda: all(well(bus) == 2 for bus in (first, second)))
        traffic = Traffic((first, second))
        listening = [asyncio.ensure_future(traffic.listen(sink)) for sink in (0, 1)]
        await until(lambda: all(bus.info()["stats"]["pubsub_channels"] == "1" for bus in (first, second)))
        publishing = [asyncio.ensure_future(traffic.publish(source)) for source in (0, 1)]
        try:
            await traffic.goes_on()
            yield (first, second), files, traffic
            for task in publishing:
                task.cancel()
            await until(traffic.has_arrived)
            for source in (0, 1):
                assert traffic.heard[1 - source] == list(range(traffic.sent[source]))
        finally:
            for task in (*publishing, *listening):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


def tls(bus: Bus, name: str) -> str:
    return bus.info()["tls"][name]


def links(bus: Bus) -> dict[str, str]:
    """All that says whether links were lost or made anew."""
    table = bus.cluster_info()
    return {name: table[name] for name in table if "links_lost" in name or "links_closed" in name or "dial" in name}


def link_ids(bus: Bus) -> list[tuple[bool, str, int]]:
    return sorted((link.inbound, link.peer, link.created_ms) for link in bus.links())


async def reloaded(buses: tuple[Bus, Bus], step: Callable[[], None]) -> None:
    before = [int(tls(bus, "tls_reloads")) for bus in buses]
    step()
    await until(lambda: all(int(tls(bus, "tls_reloads")) > seen for bus, seen in zip(buses, before, strict=True)))


async def served(bus: Bus, files: Files) -> str:
    """The serial number that a client of the port sees; it shows the certificate of `files`."""
    context = files.certificates().client_context()
    reader, writer = await asyncio.open_connection("127.0.0.1", bus.port, ssl=context)
    writer.write(b"PING\r\n")
    assert await asyncio.wait_for(reader.readline(), DEADLINE_S) == b"+PONG\r\n"
    shown = writer.get_extra_info("ssl_object").getpeercert()
    writer.close()
    await writer.wait_closed()
    return str(shown["serialNumber"])


@pytest.mark.parametrize("io_threads", [1, 3])
def test_certificates_and_then_the_authority_are_replaced_under_load(run: Run, tmp_path: Path, io_threads: int) -> None:
    async def story() -> None:
        old, new = Authority("old"), Authority("new")
        async with under_load(tmp_path, old, io_threads) as (buses, files, traffic):
            before = [links(bus) for bus in buses]
            ids = [link_ids(bus) for bus in buses]

            def each(step: Callable[[Files], None]) -> Callable[[], None]:
                def step_on_all() -> None:
                    for of_node in files:
                        step(of_node)

                return step_on_all

            await reloaded(buses, each(lambda of_node: of_node.show(old.issue())))
            for bus, of_node in zip(buses, files, strict=True):
                await until(lambda bus=bus, of_node=of_node: tls(bus, "tls_server_cert_serial") == of_node.leaf.serial)  # type: ignore[misc]
            await traffic.goes_on()
            await reloaded(buses, each(lambda of_node: of_node.trust(old, new)))
            await reloaded(buses, each(lambda of_node: of_node.show(new.issue())))
            await reloaded(buses, each(lambda of_node: of_node.trust(new)))
            await traffic.goes_on()
            assert [links(bus) for bus in buses] == before
            assert [link_ids(bus) for bus in buses] == ids
            assert await served(buses[0], files[1]) == files[0].leaf.serial

    run(story())


def test_bad_files_under_load_change_nothing_and_are_told(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        authority = Authority()
        async with under_load(tmp_path, authority, 2) as (buses, files, traffic):
            before = [links(bus) for bus in buses]
            serial = files[0].leaf.serial
            replace(files[0].key_file, b"garbage")
            await until(lambda: tls(buses[0], "tls_last_reload_status") == "err")
            assert "tls-key-file" in tls(buses[0], "tls_last_reload_error")
            assert tls(buses[0], "tls_server_cert_serial") == serial
            assert await served(buses[0], files[1]) == serial
            await traffic.goes_on()
            files[0].show(authority.issue())
            await until(lambda: tls(buses[0], "tls_last_reload_status") == "ok")
            assert tls(buses[0], "tls_server_cert_serial") == files[0].leaf.serial
            assert [links(bus) for bus in buses] == before

    run(story())


def test_versions_change_by_config_set(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        files = Files(tmp_path, Authority())
        words = settings(tmp_path / "a", **files.keywords(), port=0, tls_port=free_port())
        async with Bus(**words) as bus:

            async def version(least: ssl.TLSVersion, most: ssl.TLSVersion) -> str:
                context = files.certificates().client_context()
                context.minimum_version, context.maximum_version = least, most
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", bus.port, ssl=context)
                except OSError:
                    return ""
                spoken = writer.get_extra_info("ssl_object").version()
                writer.close()
                return str(spoken)

            v12, v13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
            assert await version(v12, v13) == "TLSv1.3"
            bus._config.set("tls-protocols", "TLSv1.2")
            await asyncio.sleep(0)
            assert await version(v12, v13) == "TLSv1.2"
            assert await version(v13, v13) == ""
            bus._config.set("tls-protocols", "TLSv1.3")
            await asyncio.sleep(0)
            assert await version(v12, v12) == ""

    run(story())
