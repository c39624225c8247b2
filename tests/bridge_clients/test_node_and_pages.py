"""Clients in other languages, and a browser's page, against a real server process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from golden import BOMB, CLIENTS, ROOT
from languages import tool
from server_process import ServerProcess

pytest.importorskip("websockets")
CLIENT = CLIENTS / "javascript" / "cervello.mjs"


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brains")
    shutil.copy(ROOT / "examples" / "cartpole.onnx", folder)
    return folder


@pytest.fixture(scope="module")
def server(brains: Path) -> Iterator[ServerProcess]:
    with ServerProcess(brains, listen=["tcp://127.0.0.1:0", "ws://127.0.0.1:0"]) as running:
        yield running


def node(tmp_path: Path, text: str, *arguments: str) -> str:
    script = tmp_path / "script.mjs"
    script.write_text(f'import {{ BridgeError, Client, bytesOf, decode, numbersOf }} from "{CLIENT.as_uri()}";\n' + text)
    found = subprocess.run([tool("node"), "--expose-gc", str(script), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_replies_of_a_megabyte_arrive_in_node(server: ServerProcess, tmp_path: Path) -> None:
    out = node(tmp_path, """
const client = new Client(process.argv[2], { client: "large", timeoutMs: 20000 });
await client.connect();
const ids = Array.from({ length: 60000 }, (_, i) => i);
const answer = await client.infer("cartpole", ids, { obs: new Uint8Array(60000 * 16) }, { begin: true });
console.log(answer.agents.length, answer.outputs.action.length, answer.outputs.logits.length);
client.close();
""", server.address)
    assert out.split() == ["60000", "480000", "480000"]


def test_small_frames_of_node_wait_for_no_acknowledgement(server: ServerProcess, tmp_path: Path) -> None:
    out = node(tmp_path, """
const client = new Client(process.argv[2], { client: "quick", timeoutMs: 20000 });
await client.connect();
await client.begin("cartpole", [1]);
const took = [];
for (let i = 0; i < 200; i++) {
  const start = performance.now();
  const first = client.infer("cartpole", [1], { obs: new Uint8Array(16) });
  client.notify("reward", { policy: "cartpole", agents: [1], reward: bytesOf([1]) });
  await Promise.all([first, client.infer("cartpole", [1], { obs: new Uint8Array(16) })]);
  took.push(performance.now() - start);
}
console.log(took.sort((a, b) => a - b)[100]);
client.close();
""", server.address)
    assert float(out) < 20


def test_a_bomb_costs_node_under_a_megabyte(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(BOMB)
    out = node(tmp_path, """
import { readFileSync } from "node:fs";
const bomb = new Uint8Array(readFileSync(process.argv[2]));
const attempt = () => { try { decode(bomb); } catch (error) { return error.message === "bad frame: nested deeper than 8"; } return false; };
attempt();
globalThis.gc();
const before = process.memoryUsage();
const refused = attempt();
const after = process.memoryUsage();
console.log(refused, after.heapUsed + after.external - before.heapUsed - before.external);
""", str(tmp_path / "bomb"))
    refused, cost = out.split()
    assert refused == "true"
    assert int(cost) < 1 << 20


@pytest.mark.parametrize("language", ["javascript", "c"])
def test_without_a_server_the_examples_say_so_and_play_nothing(language: str, server: ServerProcess, tmp_path: Path) -> None:
    if language == "c":
        command = [str(tmp_path / "example")]
        # Variables without an initial value are filled with a pattern, so that their use is seen each time.
        subprocess.run([tool("gcc"), "-std=c99", "-pedantic", "-Werror", "-ftrivial-auto-var-init=pattern", "-I", str(CLIENTS / "c"),
                        str(CLIENTS / "c" / "example.c"), "-o", command[0]], check=True, timeout=60)
    else:
        command = [tool("node"), str(CLIENTS / "javascript" / "example.mjs")]
    start = time.monotonic()
    played = subprocess.run([*command, server.address, "cartpole"], capture_output=True, text=True, timeout=60, check=False)
    assert (played.returncode, played.stdout) == (0, "100 frames\n"), played.stderr
    assert time.monotonic() - start < 3.5 or os.getloadavg()[0] > 1.0  # with Nagle's algorithm: 40 ms a frame
    nobody = subprocess.run([*command, "tcp://127.0.0.1:1", "cartpole"], capture_output=True, text=True, timeout=60, check=False)
    assert nobody.returncode == 1
    assert "tcp://127.0.0.1:1, connect: " in nobody.stdout + nobody.stderr
    assert "100 frames" not in nobody.stdout


def test_clients_need_nothing_installed_and_nothing_built() -> None:
    """Plain sources: no package to fetch, no engine module to compile, only what the language brings."""
    names = {path.name for path in CLIENTS.rglob("*")}
    assert not names & {"package.json", "node_modules", "CMakeLists.txt", "SConstruct", "Makefile"}
    for folder in ("godot", "godot4"):  # no C#, no native library
        assert {path.suffix for path in (CLIENTS / folder).rglob("*") if path.is_file()} <= {".gd", ".tscn", ".godot", ".md"}
    assert all(name.startswith("node:") for name in re.findall(r'(?:from|import\()\s*"([^"]+)"', CLIENT.read_text(encoding="utf-8")))
    headers = re.findall(r"#\s*include\s*[<\"]([^>\"]+)", (CLIENTS / "c" / "cervello.h").read_text(encoding="utf-8"))
    assert set(headers) <= {"errno.h", "fcntl.h", "limits.h", "math.h", "netdb.h", "netinet/in.h", "netinet/tcp.h", "poll.h", "signal.h",
                            "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h", "sys/socket.h", "sys/time.h", "sys/types.h",
                            "sys/un.h", "time.h", "unistd.h", "winsock2.h", "ws2tcpip.h", "windows.h", "arpa/inet.h"}


class Page(BaseHTTPRequestHandler):
    """A page that plays through a WebSocket, and takes what it says of it."""

    def __init__(self, page: str, said: list[str], *rest: Any):
        self.page, self.said = page, said
        super().__init__(*rest)

    def do_GET(self) -> None:
        kind, body = ("text/javascript", CLIENT.read_bytes()) if self.path == "/cervello.mjs" else ("text/html", self.page.encode())
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.said.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


PLAY = """<!doctype html><script type="module">
import { Client } from "/cervello.mjs";
const say = (text) => fetch("/said", { method: "POST", body: text });
try {
  const client = new Client("ADDRESS", { client: "page", timeoutMs: 20000 });
  await client.connect();
  const answer = await client.infer("cartpole", [1, 2, 3], { obs: new Uint8Array(48) }, { begin: true });
  await say(`played ${answer.outputs.action.length}`);
} catch (error) { await say(`${error.kind}: ${error.message}`); }
</script>"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs Chromium of a Unix")
def test_a_page_plays_through_a_websocket_and_one_that_is_not_listed_is_told_why_not(brains: Path, tmp_path: Path) -> None:
    chromium = tool("chromium", "chromium-browser", "google-chrome")
    said: list[str] = []
    page = [""]

    def handler(*rest: Any) -> Page:
        return Page(page[0], said, *rest)

    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{web.server_port}"

    def visit(url: str) -> str:
        said.clear()
        command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile", url]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 40
            while not said and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            browser.terminate()
            browser.wait(20)
        return said[0] if said else "nothing"

    try:
        with ServerProcess(brains, "--allow-origin", origin, listen=["ws://127.0.0.1:0"]) as running:
            page[0] = PLAY.replace("ADDRESS", running.address)
            assert visit(origin) == "played 24"
            told = visit(f"http://localhost:{web.server_port}")  # the same page of another origin
        assert told.startswith(f"dead_server: {running.address}, connect: "), told
        assert "--allow-origin" in told
        assert "local network" in told
    finally:
        web.shutdown()
        web.server_close()


def test_what_node_cannot_send_is_a_bad_call_with_a_remedy(server: ServerProcess, tmp_path: Path) -> None:
    out = node(tmp_path, """
const said = (call) => call().catch((error) => console.log(error instanceof BridgeError, error.kind, error.message));
for (const address of ["nowhere", "tcp:/", "tcp://127.0.0.1:port", "http://127.0.0.1:1"]) await said(() => new Client(address).connect());
const client = new Client(process.argv[2]);
await client.connect();
await said(() => client.infer("cartpole", [1], { obs: new Float32Array(4) }, { begin: true }));
const answer = await client.infer("cartpole", [1], { obs: bytesOf(new Float32Array(4)) }, { begin: true });
console.log(answer.agents);
client.close();
""", server.address)
    asked = "expected tcp://host:port or ws://host:port"
    assert out.splitlines() == [
        *(f"true bad_call {address}, connect: {asked}" for address in ("nowhere", "tcp:/", "tcp://127.0.0.1:port", "http://127.0.0.1:1")),
        f"true bad_call {server.address}, infer: expected rows as a Uint8Array, got a Float32Array; give bytesOf(rows)", "[ 1 ]"]


@pytest.mark.parametrize("lua", ["lua5.1", "luajit"])
def test_rows_that_are_no_bytes_are_a_lua_error_with_a_remedy(lua: str, server: ServerProcess, tmp_path: Path) -> None:
    script = tmp_path / "script.lua"
    script.write_text(f"""
package.path = "{(CLIENTS / "lua").as_posix()}/?.lua;" .. package.path
local cervello = require("cervello")
local client = cervello.open(arg[1])
client:ready()
local policy = client:policy("cartpole")
print(select(2, pcall(policy.infer, policy, {{ 1 }}, {{ obs = {{ 0, 0, 0, 0 }} }}, {{ begin = true }})))
print(#policy:infer({{ 1 }}, {{ obs = cervello.pack("float32", {{ 0, 0, 0, 0 }}) }}, {{ begin = true }}):wait(5).agents)
client:close()
""")
    found = subprocess.run([tool(lua), str(script), server.address], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == ["cervello: inputs.obs: expected bytes, got a table; give cervello.pack(dtype, numbers)", "1"]
