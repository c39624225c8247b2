"""What is an address, and what is said about a text that is none."""

from __future__ import annotations

import re

import pytest

from cervello.bridge.addresses import Address, parse
from cervello.errors import ConfigurationError


@pytest.mark.parametrize(("text", "expected"), [
    ("tcp://127.0.0.1:0", Address("tcp", "127.0.0.1", 0)), ("tcp://[::1]:65535", Address("tcp", "::1", 65535)),
    ("ws://localhost:80/path", Address("ws", "localhost", 80)), ("unix:/run/s", Address("unix", path="/run/s")),
    ("unix:///run/s", Address("unix", path="/run/s"))])
def test_addresses_are_parsed(text: str, expected: Address) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(("text", "message"), [
    ("tcp://127.0.0.1:99999", "address 'tcp://127.0.0.1:99999', port: expected 0 to 65535, got 99999"),
    ("ws://[::1]:65536", "address 'ws://[::1]:65536', port: expected 0 to 65535, got 65536"),
    ("tcp://a:99999999999999999999", "port: expected 0 to 65535, got 99999999999999999999"),
    ("127.0.0.1:5600", "got no scheme; did you mean tcp://127.0.0.1:5600?"),
    ("[::1]:5600", "got no scheme; did you mean tcp://[::1]:5600?"),
    ("tcp:5600", "expected tcp://host:port, unix:/path or ws://host:port, got something else"),
    ("tcp://127.0.0.1:x", "got something else"), ("tcp://127.0.0.1", "got something else"), ("http://a:1", "got something else"),
    ("", "got something else")])
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        parse(text)
