"""Chromium without a window, driven over its DevTools protocol: pages, what is on them, keys, pictures.

Owns the process and its folder; both end with the browser. Knows no page of ours. Starts a process and talks to it on
loopback.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp

from tests.peers.server import missing

START_DEADLINE_S: Final = 60.0
CALL_DEADLINE_S: Final = 30.0
WAIT_DEADLINE_S: Final = 30.0
POLL_INTERVAL_S: Final = 0.05
MESSAGE_LEN_MAX_BYTES: Final = 64 * 1024 * 1024
FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",  # containers have none to give
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-port=0",
)


def chromium_command() -> str:
    """The browser's path. Without one the test is skipped, and fails where CI is set."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        missing("chromium (Debian)")
    return found


class Tab:
    """One page. `complaints` are what its scripts threw and what the browser refused or could not load."""

    def __init__(self, browser: Browser, session_id: str) -> None:
        self._browser, self._session_id = browser, session_id
        self.complaints: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        return await self._browser.call(method, params, self._session_id)

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, as JSON can say it; a promise is awaited."""
        answer = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def text(self, selector: str) -> str:
        """The text of the first element that fits."""
        return str(await self.value(f"document.querySelector({json.dumps(selector)}).textContent"))

    async def until(self, expression: str, deadline_s: float = WAIT_DEADLINE_S) -> Any:
        """Polls an expression until it is true and gives its value; AssertionError at the deadline."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + deadline_s
        while not (value := await self.value(expression)):
            if loop.time() > end_s:
                shown = await self.value("document.body.innerText.slice(0, 4000)")
                raise AssertionError(f"never true on the page: {expression}\n{shown}\n{self.complaints}")
            await asyncio.sleep(POLL_INTERVAL_S)
        return value

    async def key(self, name: str) -> None:
        """Presses a key and lets it go."""
        for kind in ("rawKeyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name)

    async def look(self, width: int, height: int, *, dark: bool = False, mobile: bool = False) -> None:
        """The size of the window in CSS pixels, and what colours its user prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


class Browser:
    """A running browser. Made by `chromium`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}

    async def call(self, method: str, params: dict[str, Any], session_id: str | None = None) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        await self._socket.send_json(message if session_id is None else message | {"sessionId": session_id})
        return await asyncio.wait_for(answer, CALL_DEADLINE_S)

    async def tab(self) -> Tab:
        """A new empty page."""
        target_id = (await self.call("Target.createTarget", {"url": "about:blank"}))["targetId"]
        attached = await self.call("Target.attachToTarget", {"targetId": target_id, "flatten": True})
        tab = self._tabs[attached["sessionId"]] = Tab(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            await tab.call(f"{domain}.enable")
        return tab

    async def read(self) -> None:
        """Takes what the browser says, until it ends."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                answer = self._answers.pop(said["id"])
                if not answer.done() and "error" in said:
                    answer.set_exception(AssertionError(f"DevTools: {said['error']}"))
                elif not answer.done():
                    answer.set_result(said["result"])
            elif (tab := self._tabs.get(said.get("sessionId", ""))) is not None:
                _take_complaint(tab, said["method"], said["params"])


def _take_complaint(tab: Tab, method: str, params: dict[str, Any]) -> None:
    if method == "Runtime.exceptionThrown":
        tab.complaints.append(str(params["exceptionDetails"].get("exception", {}).get("description", params)))
    elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
        tab.complaints.append(params["entry"]["text"])


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser with a folder of its own, which knows nothing of any before it."""
    command = chromium_command()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            *(command, *FLAGS, f"--user-data-dir={folder}", "about:blank"),
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            assert process.stderr is not None
            url = await asyncio.wait_for(_devtools(process.stderr), START_DEADLINE_S)
            drain = asyncio.create_task(_drain(process.stderr))
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(url, max_msg_size=MESSAGE_LEN_MAX_BYTES) as socket,
            ):
                browser = Browser(socket)
                reading = asyncio.create_task(browser.read())
                try:
                    yield browser
                finally:
                    for task in (reading, drain):
                        task.cancel()
                    await asyncio.gather(reading, drain, return_exceptions=True)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it is the leader of its own session, and has children
            await process.wait()


async def _devtools(lines: asyncio.StreamReader) -> str:
    """The address that the browser prints."""
    said = []
    while line := (await lines.readline()).decode(errors="replace"):
        if "DevTools listening on " in line:
            return line.rpartition(" ")[2].strip()
        said.append(line)
    raise AssertionError(f"chromium has ended: {''.join(said)}")


async def _drain(lines: asyncio.StreamReader) -> None:
    while await lines.read(65_536):
        pass
