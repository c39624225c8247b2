"""Churn against a server process, for as long as wanted.

    python scripts/soak_bridge.py --minutes 60
    python scripts/soak_bridge.py --lives 200000

Clients in processes of their own begin crowds, ask, reward, end, and are killed at random; one policy's file is written again and again.
Every reply is compared, bitwise, with the policy run locally in the client under the same streams. Checked: no reply is lost, crossed or
wrong; once all clients are gone no agent is left; memory after the first fifth (and 15 s) and at the end differs by at most 5%; the server
ends well and logs no error. Linux. Exit status 1 where something did not hold.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

import small_models
from server_process import ServerProcess

import cervello
from cervello import bridge

N_CLIENTS = 3
POLICIES = ("noisy", "sum")  # noise by stream, and recurrent state; "reloaded" is asked without comparing its versions' weights
MOST_GROWTH = 1.05
WARM_S = 15.0


def play(address: str, folder: str, seed: int, lives: Any, replies: Any, wrong: Any) -> None:
    """A game: crowds come, decide and go; ends only by being killed, or with a wrong reply."""
    rng = np.random.default_rng(seed)
    local = {name: cervello.load(Path(folder, f"{name}.onnx"), wrappers="auto") for name in POLICIES}
    halves = [cervello.Model.load(small_models.scaled(small_models.feed_forward(), factor)).run for factor in (1.0, 0.5)]
    first = 0
    try:
        with bridge.Client(address, name=f"soak {seed}", timeout_s=60) as client:
            remote = {name: client.policy(name) for name in (*POLICIES, "reloaded")}
            while True:
                ids = list(range(first, first + int(rng.integers(1, 120))))
                first = (first + len(ids)) % 5000
                for name in POLICIES:
                    streams = remote[name].begin(ids)
                    local[name].begin_agents(ids, stream=streams.astype(np.int64), episode=0)
                    for _ in range(int(rng.integers(0, 5))):
                        chosen = [int(each) for each in rng.permutation(ids)[:int(rng.integers(1, len(ids) + 1))]]
                        rows = {"obs": rng.standard_normal((len(chosen), 6 if name == "noisy" else 1)).astype(np.float32)}
                        answer = remote[name].infer(chosen, rows).result()
                        expected = local[name].infer_batch(chosen, rows)
                        replies.value += 1
                        if answer.agents.tolist() != chosen or answer["action"].tobytes() != expected["action"].tobytes():
                            raise AssertionError(f"policy {name!r}: expected what the policy gives locally, got another reply")
                        remote[name].reward(chosen, rng.standard_normal(len(chosen)))
                    remote[name].end(ids, terminated=True)
                    local[name].end_agents(ids)
                    lives.value += len(ids)
                rows = {"obs": rng.standard_normal((3, 6)).astype(np.float32)}
                got = remote["reloaded"].infer([0, 1, 2], rows, begin=True).result()["action"].tobytes()
                if got not in [run(rows)["action"].tobytes() for run in halves]:  # never a mixture of two versions
                    raise AssertionError("policy 'reloaded': expected what one of its versions gives, got another reply")
                replies.value += 1
    except Exception as error:
        print(f"client {seed}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        wrong.value += 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=0.0, help="at least so long")
    parser.add_argument("--lives", type=int, default=0, help="at least so many agents begun and ended")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kill-s", type=float, default=2.0, help="a client is killed about so often")
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    processes = multiprocessing.get_context("spawn")
    versions = [small_models.feed_forward(), small_models.scaled(small_models.feed_forward(), 0.5)]
    killed = reloads = 0
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        (folder / "noisy.onnx").write_bytes(small_models.noisy())
        (folder / "sum.onnx").write_bytes(small_models.counter())
        (folder / "reloaded.onnx").write_bytes(versions[0])
        with ServerProcess(folder) as server, bridge.Client(server.address, name="watch") as watch:
            def client(seed: int) -> Any:
                # Each counts for itself, without a lock: a client that is killed while it holds one would keep it.
                mine = tuple(processes.Value("q", 0, lock=False) for _ in range(3))
                counters.append(mine)
                process = processes.Process(target=play, args=(server.address, work, seed, *mine), daemon=True)
                process.start()
                return process

            counters: list[Any] = []
            clients = [client(seed) for seed in range(N_CLIENTS)]
            start, seed, marked, before = time.monotonic(), N_CLIENTS, 0.0, 0

            def counted() -> list[int]:
                """Agents begun and ended, replies, and wrong or lost replies, of all clients."""
                return [sum(mine[i].value for mine in counters) for i in range(3)]

            def done() -> float:
                """The part that is done, 1 at the end or after a wrong reply."""
                lives, _, wrong = counted()
                parts = [(time.monotonic() - start) / 60 / options.minutes] if options.minutes else []
                parts += [lives / options.lives] if options.lives else []
                return 1.0 if wrong else min(parts, default=1.0)

            while (part := done()) < 1:
                time.sleep(options.kill_s * rng.uniform(0.5, 1.5) / 2)
                if part > 0.2 and not before and time.monotonic() - start > WARM_S:
                    before, marked = server.resident_bytes, part
                (folder / "beside").write_bytes(versions[reloads % 2])
                os.replace(folder / "beside", folder / "reloaded.onnx")
                reloads += 1
                if rng.random() < 0.5:
                    i = rng.randrange(N_CLIENTS)
                    clients[i].kill()
                    clients[i].join(30)
                    killed += 1
                    clients[i] = client(seed)
                    seed += 1
            took, after = time.monotonic() - start, server.resident_bytes
            for each in clients:
                each.kill()
                each.join(30)
            until = time.monotonic() + 30
            while (left := sum(each["agents"] for each in watch.stats()["policies"].values())) and time.monotonic() < until:
                time.sleep(0.05)
            swapped = watch.stats()["policies"]["reloaded"]["reloads"]
    lives, replies, wrong = counted()
    growth = after / before if before else 1.0
    print(f"{lives:,} agents begun and ended, {replies:,} replies compared bitwise, {killed} clients killed, {swapped} "
          f"reloads, {took / 60:.1f} minutes, seed {options.seed}: {wrong} wrong or lost, {left} agents left, memory "
          f"{before / 2**20:.0f} MiB at {marked:.0%} and {after / 2**20:.0f} MiB at the end ({growth - 1:+.1%})")
    return int(bool(wrong or left or growth > MOST_GROWTH))


if __name__ == "__main__":
    sys.exit(main())
