"""A proxy that makes any HTTP/1.1 server slow, to be run as a process: rclone's server cannot be asked to be far away.

    python -m scripts.benchmark.far PORT LATENCY UPLOAD_LATENCY      (in seconds)

The first bytes that a client sends after an answer are a new request: they wait, those of a PUT longer. Everything
else passes at once. It looks into no body. The port that it listens on is printed.

**Threading:** one event loop; connections wait side by side.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

_CHUNK: Final = 1024**2


class Proxy:
    """Passes connections on to one server of this machine."""

    def __init__(self, port: int, latency: float, upload_latency: float) -> None:
        self._port = port
        self._latency = latency
        self._upload_latency = upload_latency

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_CHUNK)
        is_answered = True

        async def requests() -> None:
            nonlocal is_answered
            while chunk := await reader.read(_CHUNK):
                if is_answered:
                    is_answered = False
                    await asyncio.sleep(self._latency + (self._upload_latency if chunk.startswith(b"PUT ") else 0))
                far_writer.write(chunk)
                await far_writer.drain()
            far_writer.write_eof()

        async def answers() -> None:
            nonlocal is_answered
            while chunk := await far_reader.read(_CHUNK):
                is_answered = True
                writer.write(chunk)
                await writer.drain()
            writer.close()

        try:
            await asyncio.gather(requests(), answers())
        except OSError:  # somebody has hung up
            pass
        finally:
            writer.close()
            far_writer.close()


async def main() -> None:
    """Serve until ended."""
    proxy = Proxy(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0, limit=_CHUNK)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
