"""The Python clients, blocking and for asyncio, against golden frames and a responder made of them."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import numpy as np
import pytest
from golden import BAD_VALUES, BOMB, DATA, FRAMES, decode, encode
from responder import REPLIES, Responder
from test_clients import VALUES

import cervello
from cervello.bridge import AsyncClient, AsyncPolicy, Client, RemotePolicy
from cervello.bridge.client.columns import Answer, Columns
from cervello.bridge.client.replies import reply
from cervello.bridge.envelope import unpack
from cervello.bridge.scan import scan

OBS = np.array([[0.5, -0.25, 0.125, 1.0], [-1.0, 0.75, 0.0, 2.0]])
LARGEST = 2**53 - 1
INFERS: list[tuple[list[int], Any, dict[str, Any]]] = [
    ([1, 2], OBS, {}),
    ([3], OBS[:1], {"begin": True, "deterministic": [True], "deadline_us": 5_000_000, "outputs": ["action"], "tick": LARGEST}),
    ([], OBS[:0], {}), ([1], OBS[:1], {"outputs": []})]
REWARDS: list[tuple[list[int], list[float], dict[str, Any]]] = [
    ([1, 2], [1.0, -0.5], {}), ([3], [0.5], {"actions": {"action": [1]}, "tick": LARGEST})]
ENDS: list[tuple[list[int], dict[str, Any]]] = [
    ([1, 2], {"terminated": [True, False], "truncated": [False, True], "inputs": {"obs": OBS}}), ([3], {"terminated": True})]


def golden(*without: str) -> list[bytes]:
    """The golden requests from `hello` to `stats`, without their ids; without those of some methods."""
    methods = next(session for session in DATA["sessions"] if session["name"] == "methods")
    sent = [name for what, name in methods["steps"] if what == "send"]
    bodies = [FRAMES[name][4:] for name in sent[:sent.index("stats") + 1]]
    return [unnumbered(body) for body in bodies if decode(body)[2] not in without]


def unnumbered(body: bytes) -> bytes:
    """A request without its id, which is a byte below 128."""
    assert body[:2] == b"\x94\0"
    assert body[2] < 128
    return body[:2] + body[3:]


def check(answer: Answer) -> None:
    """The answer must be that of the golden reply."""
    result = REPLIES["infer"]
    assert answer.agents.tolist() == result["agents"]
    assert {name: column.tobytes() for name, column in answer.items()} == result["outputs"]
    assert (answer["action"].dtype, answer["action"].shape, answer["logits"].shape) == (np.int64, (2,), (2, 2))
    assert (answer.skipped.tolist(), answer.version, answer.tick, answer.streams) == ([], 1, None, None)


def test_the_codec_reads_and_writes_golden_frames_and_refuses_bad_values() -> None:
    for name, body in VALUES.items():
        assert scan(body), name
        assert unpack(body) == decode(body), name
    for name, body in VALUES.items():
        if name.endswith(".reply"):
            number, error, result = reply("here", body)
            assert [1, number, error, result] == decode(body), name
    for body in BAD_VALUES.values():
        with pytest.raises(cervello.ServerGoneError, match="here, receive: expected a reply, got something else"):
            reply("here", body)


def test_nested_headers_cost_under_a_megabyte() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(cervello.ServerGoneError, match="nesting"):
            reply("here", BOMB)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_requests_of_the_blocking_client_are_the_golden_bytes_and_replies_are_read() -> None:
    with Responder() as server:
        with Client(server.address, name="golden") as client:
            assert client.hello == REPLIES["hello"]
            client.ping()
            policy = client.policy("cartpole")
            assert policy.begin([1, 2], streams=[7, 1 << 62]).astype("<u8").tobytes() == REPLIES["begin"]["streams"]
            for ids, obs, more in INFERS:
                check(policy.infer(ids, {"obs": obs}, **more).result())
            for ids, rewards, more in REWARDS:
                policy.reward(ids, rewards, **more, wait=True)
            assert policy.snapshot([1, 2]) == REPLIES["snapshot"]["state"]
            for ids, more in ENDS:
                policy.end(ids, **more, wait=True)
            assert client.stats() == REPLIES["stats"]
            policy.reward([1, 2], [1.0, -0.5])
            policy.end([1, 2])
            client.ping()
        received = server.received
    assert [unnumbered(body) for body in received[:-3]] == golden()
    assert received[-3:-1] == [FRAMES["notify.reward"][4:], FRAMES["notify.end"][4:]]


def test_requests_of_the_asyncio_client_are_the_golden_bytes_and_replies_are_read() -> None:
    """It has no ping and no snapshot, and its rewards and ends are notifies."""
    async def play(address: str) -> None:
        async with await AsyncClient.connect(address, name="golden") as client:
            assert client.hello == REPLIES["hello"]
            policy = await client.policy("cartpole")
            assert (await policy.begin([1, 2], streams=[7, 1 << 62])).astype("<u8").tobytes() == REPLIES["begin"]["streams"]
            for ids, obs, more in INFERS:
                check(await policy.infer(ids, {"obs": obs}, **more))
            for ids, rewards, more in REWARDS:
                await policy.reward(ids, rewards, **more)
            for ids, more in ENDS:
                await policy.end(ids, **more)
            assert await client.stats() == REPLIES["stats"]
            await policy.reward([1, 2], [1.0, -0.5])
            await policy.end([1, 2])
            await client.stats()

    with Responder() as server:
        asyncio.run(play(server.address))
        received = server.received
    asked = [unnumbered(body) for body in received[:-1] if body[1] == 0]
    assert asked == golden("ping", "snapshot", "reward", "end")
    told = [FRAMES[name][4:] for name in ("reward.request", "reward.actions", "end", "end.flag")]
    expected = [encode([2, *decode(body)[2:]]) for body in told] + [FRAMES["notify.reward"][4:], FRAMES["notify.end"][4:]]
    assert [body for body in received if body[1] == 2] == expected


def infer_blocking(address: str, policy: str, timeout_s: float) -> None:
    """Infers once, and expects the golden answer."""
    with Client(address) as client:
        check(RemotePolicy(client, Columns(policy, REPLIES["spec"])).infer([1], {"obs": OBS[:1]}).result(timeout_s))


def infer_asyncio(address: str, policy: str, timeout_s: float) -> None:
    """As `infer_blocking`."""
    async def play() -> None:
        async with await AsyncClient.connect(address) as client:
            check(await AsyncPolicy(client, Columns(policy, REPLIES["spec"])).infer([1], {"obs": OBS[:1]}, timeout_s=timeout_s))

    asyncio.run(play())


both = pytest.mark.parametrize("infer", [infer_blocking, infer_asyncio], ids=["blocking", "asyncio"])


@both
@pytest.mark.parametrize(("policy", "kind", "cause"), [
    ("draining", cervello.DrainingError, "going away"), ("dead", cervello.ServerGoneError, "closed the connection"),
    ("silent", cervello.LateAnswerError, r"within 0\.3 s"), ("bomb", cervello.ServerGoneError, "nesting of at most 8"),
    ("long", cervello.ServerGoneError, "2147483647"), ("half", cervello.ServerGoneError, "closed the connection"),
    ("refused", cervello.RefusedError, "code 5: agents 5, 4")])
def test_errors_name_kind_address_step_and_cause(infer: Any, policy: str, kind: type[cervello.BridgeError], cause: str) -> None:
    with Responder() as server, pytest.raises(kind, match=cause) as raised:
        infer(server.address, policy, 0.3 if policy == "silent" else 10.0)
    assert type(raised.value) is kind
    assert f"{server.address}, infer: " in str(raised.value)


@both
def test_the_server_s_limit_holds_for_its_replies(infer: Any) -> None:
    with Responder(frame_bytes=1 << 20) as server, pytest.raises(cervello.ServerGoneError, match=str((1 << 20) + 1)):
        infer(server.address, "over", 10.0)


@both
@pytest.mark.parametrize("policy", ["drip", "slow"])
def test_replies_in_single_bytes_and_late_ones_arrive(infer: Any, policy: str) -> None:
    with Responder() as server:
        infer(server.address, policy, 10.0)


def test_replies_are_matched_by_id() -> None:
    with Responder() as server, Client(server.address) as client:
        first = RemotePolicy(client, Columns("overtaken", REPLIES["spec"])).infer([1, 2], {"obs": OBS})
        client.ping()
        check(first.result())

    async def play(address: str) -> None:
        async with await AsyncClient.connect(address) as client:
            policy = AsyncPolicy(client, Columns("overtaken", REPLIES["spec"]))
            answer, stats = await asyncio.gather(policy.infer([1, 2], {"obs": OBS}), client.stats())
            check(answer)
            assert stats == REPLIES["stats"]

    with Responder() as server:
        asyncio.run(play(server.address))


@pytest.mark.parametrize(("greeting", "kind"), [
    ("silent", cervello.ServerGoneError), ("refused", cervello.RefusedError), ("draining", cervello.DrainingError)])
def test_a_hello_that_fails_says_so_within_its_time(greeting: str, kind: type[cervello.BridgeError]) -> None:
    with Responder(greeting) as server:
        with pytest.raises(kind, match=f"{server.address}, hello: "):
            Client(server.address, connect_timeout_s=0.3)
        with pytest.raises(kind, match=f"{server.address}, hello: "):
            asyncio.run(AsyncClient.connect(server.address, connect_timeout_s=0.3))
