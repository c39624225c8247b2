"""A socket that never blocks, with bodies on the one side and bytes on the other."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable

from cervello.bridge.addresses import Address
from cervello.bridge.codes import BadFrame
from cervello.bridge.framing import Deframer, framed
from cervello.bridge.stream_carrier import tune
from cervello.errors import BridgeError, ServerGoneError

_CHUNK = 1 << 18


class Connection:
    """One connection to a server. Mutable; used by one thread at a time, but for `wait`, during which others may do the rest but `close`.

    Args:
      where: tcp or unix. timeout_s: for connecting.
      take: called with each body that comes; raises BridgeError when the connection cannot go on.
    Attributes:
      deframer: cuts what comes into bodies.
    Raises:
      ServerGoneError: nobody answers.
    """

    def __init__(self, where: Address, timeout_s: float, take: Callable[[bytes], None]):
        self.deframer, self._outgoing, self._take = Deframer((1 << 32) - 1), bytearray(), take
        try:
            if where.scheme == "unix":
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._socket.settimeout(timeout_s)
                try:
                    self._socket.connect(where.path)
                except BaseException:
                    self._socket.close()
                    raise
            else:
                self._socket = socket.create_connection((where.host, where.port), timeout_s)
        except OSError as error:
            raise ServerGoneError(f"{where}, connect: expected a server, got {error.strerror or error}; is it running, and is this its "
                                  "address?") from error
        tune(self._socket)
        self._socket.setblocking(False)

    def close(self) -> None:
        """Ends it, at once for the server."""
        self.stop()
        self._socket.close()

    def stop(self) -> None:
        """Ends it for the server, and for a thread in `wait`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def wait(self, most_s: float) -> None:
        """Until `exchange` has something to do, or for so long."""
        select.select([self._socket], [self._socket] if self._outgoing else [], [], most_s)

    def send(self, body: bytes) -> None:
        """Sends what can be sent of it at once, and the rest with `exchange`.

        Raises:
          BridgeError: the connection has ended.
        """
        frame = framed(body)
        if not self._outgoing:
            try:
                frame = frame[self._socket.send(frame):]
            except BlockingIOError:
                pass
            except OSError as error:
                raise self._why(error) from error
        self._outgoing += frame

    def exchange(self) -> None:
        """Receives and sends what can be without waiting.

        Raises:
          BridgeError: the connection has ended.
        """
        self._receive()
        try:
            while self._outgoing:
                sent = self._socket.send(self._outgoing)
                del self._outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError as error:
            raise self._why(error) from error

    def _receive(self) -> None:
        try:
            while True:
                data = self._socket.recv(_CHUNK)
                if not data:
                    raise ServerGoneError("the server closed the connection without a word")
                for body in self.deframer.feed(data):
                    self._take(body)
                if len(data) < _CHUNK:
                    return
        except BlockingIOError:
            return
        except OSError as error:
            raise ServerGoneError(f"the connection ended: {error.strerror or error}") from error
        except BadFrame as error:
            raise ServerGoneError(f"expected a frame, got something else ({error})") from error

    def _why(self, error: OSError) -> BridgeError:
        """Why sending failed, which may lie in what was received before."""
        try:
            self._receive()
        except BridgeError as found:
            return found
        return ServerGoneError(f"the connection ended: {error.strerror or error}")
