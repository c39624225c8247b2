"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from languages import tool
from websockets.sync.client import connect

TIME_LIMIT_S = 60.0


@contextmanager
def pages(root: Path) -> Iterator[str]:
    """Serves a folder on a free port of 127.0.0.1: its origin."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


class Page:
    """An open page."""

    def __init__(self, send: Callable[[str, dict[str, Any]], dict[str, Any]]):
        self.send = send

    def value(self, expression: str) -> Any:
        """What an expression is worth in the page."""
        found = self.send("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Until it is true; fails after the time limit with what the page logged."""
        until = time.monotonic() + TIME_LIMIT_S
        while not self.value(expression):
            assert time.monotonic() < until, f"{expression}: not within {TIME_LIMIT_S:g} s"
            time.sleep(0.05)

    def picture(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", {"format": "png"})["data"])


@contextmanager
def opened(url: str, folder: Path, width: int, height: int, *options: str) -> Iterator[Page]:
    """A page in a Chromium of its own, whose profile goes into `folder`; skipped, by name, where there is none.

    Args:
      options: more of the command.
    """
    command = [tool("chromium", "chromium-browser", "google-chrome", "chrome"), "--headless=new", "--no-sandbox", "--disable-gpu",
               "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
               *options,
               f"--user-data-dir={folder}", "--remote-debugging-port=0", "--remote-allow-origins=*", f"--window-size={width},{height}",
               "about:blank"]
    with (folder.parent / "chromium.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        ready, until = folder / "DevToolsActivePort", time.monotonic() + TIME_LIMIT_S
        while not ready.exists() or "\n" not in ready.read_text():
            assert process.poll() is None, (folder.parent / "chromium.log").read_text()
            assert time.monotonic() < until, "chromium: not ready in time"
            time.sleep(0.05)
        port = ready.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=TIME_LIMIT_S) as reply:
            target = next(entry for entry in json.load(reply) if entry["type"] == "page")
        with connect(target["webSocketDebuggerUrl"], max_size=None, open_timeout=TIME_LIMIT_S) as socket:
            numbers = iter(range(1, 1 << 30))

            def send(method: str, params: dict[str, Any]) -> dict[str, Any]:
                number = next(numbers)
                socket.send(json.dumps({"id": number, "method": method, "params": params}))
                while (message := json.loads(socket.recv(timeout=TIME_LIMIT_S))).get("id") != number:
                    pass  # events
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

            send("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
            send("Page.navigate", {"url": url})
            yield Page(send)
    finally:
        process.terminate()
        try:
            process.wait(TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
