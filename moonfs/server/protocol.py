"""HTTP on one connection: uvicorn's, with the refusals of the API, and without patience for heads that never end.

What is no HTTP gets the error body as well, so that a client reads every answer alike; and a connection on which a
request begins and does not go on is closed, as are those on which nothing is ever asked. A client that closes its half
of a connection after its request, as `nc -N` does, still gets the answer; one that does not read it is hung up on.

**Threading:** runs in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import struct
import sys
import termios
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from moonfs import wire
from moonfs.server import refusal

#: Seconds in which the head of a request must come, from its first byte on or from the beginning of the connection.
HEAD_SECONDS: Final = 30.0
#: Seconds in which a client has to take so many bytes of what waits for it.
READ_SECONDS: Final = 60.0
_LEAST_READ: Final = 16 * 1024


class Protocol(H11Protocol):
    """One connection."""

    _patience: asyncio.TimerHandle | None = None
    _reader: asyncio.TimerHandle | None = None
    _is_half_closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._rest()
        self._leave_reader()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to read, but not for ever."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """Go on: it has read."""
        self._leave_reader()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """End a connection on which nothing is asked any more."""
        super().timeout_keep_alive_handler()
        self._end()

    def data_received(self, data: bytes) -> None:
        """Take bytes; between two requests they are the beginning of a head."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            if self._patience is None:
                self._await_head()
        elif self.conn.their_state is not h11.IDLE:
            self._rest()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Refuse a request that ends too early; answer a whole one, and say whether the connection stays for that."""
        if self.conn.their_state in (h11.CLOSED, h11.ERROR):
            return False
        self._is_half_closed = True
        self._take_end()
        return True

    def on_response_complete(self) -> None:
        """Go on to the next request, whose head may have begun to come in."""
        super().on_response_complete()
        if self._is_half_closed and not self.transport.is_closing():
            self._take_end()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] and self._patience is None:
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, as the error that is being handled hints: 400, or 431 for too long a head."""
        error = sys.exc_info()[1]
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = wire.dump(refusal.bad_request(status).body())
            headers = [
                (b"content-type", b"application/json; charset=utf-8"),
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
            ]
            reason = STATUS_PHRASES.get(status, b"")
            answer = h11.Response(status_code=status, headers=headers, reason=reason)
            for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None:  # a request before it, or the head of the same: it has its answer
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _take_end(self) -> None:
        """Do what is left to do of what has come, as nothing more will; nothing while a whole request is answered."""
        if self.conn.their_state is h11.SEND_BODY or (self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]):
            self.conn.receive_data(b"")
            self.handle_events()  # which refuses it
        elif self.conn.their_state is h11.IDLE:
            self.transport.close()

    def _await_head(self) -> None:
        self._patience = self.loop.call_later(HEAD_SECONDS, self._end)

    def _rest(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _await_reader(self) -> None:
        self._leave_reader()
        self._reader = self.loop.call_later(READ_SECONDS, self._look_at_reader, self._unread())

    def _look_at_reader(self, before: int) -> None:
        if before - self._unread() < _LEAST_READ:
            self.transport.abort()
        else:
            self._await_reader()

    def _leave_reader(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _unread(self) -> int:
        """Return the bytes that the client has not taken yet, here and in the kernel."""
        in_kernel = bytearray(struct.calcsize("i"))
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, in_kernel)
        waiting: int = self.transport.get_write_buffer_size()
        return waiting + int(struct.unpack("i", in_kernel)[0])

    def _end(self) -> None:
        """Close the connection, and do not wait for a client that has left something unread (asyncio would)."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()
