"""A non-blocking socket that sends and receives bodies."""

from __future__ import annotations

import contextlib
import math
import select
import socket
from collections.abc import Callable

from cervello.bridge.addresses import Address
from cervello.bridge.codes import BadFrame
from cervello.bridge.framing import Deframer, framed
from cervello.bridge.limits import Limits
from cervello.bridge.stream_transport import set_socket_options
from cervello.errors import BridgeError, ServerGoneError

_CHUNK = 1 << 18
_SELECTABLE = 1024  # file numbers below it are those that `select` takes on POSIX systems


class Connection:
    """One connection to a server. Mutable; used by one thread at a time, except that other threads may call all but `close` during `wait`.

    Args:
      where: tcp or unix. timeout_s: for connecting.
      on_body: called with each received body; raises BridgeError when the connection has to be closed.
    Attributes:
      deframer: cuts what comes into bodies; its limit is the default one until `hello` is answered.
    Raises:
      ServerGoneError: no server answers.
    """

    def __init__(self, where: Address, timeout_s: float, on_body: Callable[[bytes], None]):
        self.deframer, self._outgoing, self._on_body = Deframer(Limits().frame_bytes), bytearray(), on_body
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
        set_socket_options(self._socket)
        self._socket.setblocking(False)
        self._is_beyond_select = hasattr(select, "poll") and self._socket.fileno() >= _SELECTABLE

    def close(self) -> None:
        """Closes the socket."""
        self.stop()
        self._socket.close()

    def stop(self) -> None:
        """Shuts the socket down, which also wakes a thread in `wait`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def wait(self, most_s: float) -> None:
        """Waits until `exchange` has work, or for a time."""
        if self._is_beyond_select:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN | select.POLLOUT if self._outgoing else select.POLLIN)
            poll.poll(math.ceil(most_s * 1e3))
        else:  # the finer clock
            select.select([self._socket], [self._socket] if self._outgoing else [], [], most_s)

    def send(self, body: bytes) -> None:
        """Sends as much as possible at once; `exchange` sends the rest.

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
        """Receives and sends without waiting.

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
                    raise ServerGoneError("the server closed the connection without a reason")
                for body in self.deframer.feed(data):
                    self._on_body(body)
                if len(data) < _CHUNK:
                    return
        except BlockingIOError:
            return
        except OSError as error:
            raise ServerGoneError(f"the connection ended: {error.strerror or error}") from error
        except BadFrame as error:
            raise ServerGoneError(f"expected a frame, got something else ({error})") from error

    def _why(self, error: OSError) -> BridgeError:
        """The reason of a failed send; it may be in data received before."""
        try:
            self._receive()
        except BridgeError as found:
            return found
        return ServerGoneError(f"the connection ended: {error.strerror or error}")
