"""A wire between the two nodes that can be slow, thin, silent in one direction, or cut.

It is a TCP proxy with a listener for each node: whoever connects to A's listener reaches B. What a
direction does is set while it runs:

    delay               seconds that each byte is on its way
    bytes_per_second    what goes over at most; None: all
    silent              nothing arrives any more, also no end of a connection; it arrives later if the
                        direction speaks again while the connection lives, as TCP would repeat it

`cut` resets connections, `cut_now_and_then` does it at random: what loss of packets is to TCP when it
lasts. The loop is a thread of its own, which may stand in another network namespace.
"""

import asyncio
import ctypes
import os
import random
import socket
import struct
import threading
import time

CHUNK_BYTES = 64 * 1024
CHUNKS_ON_THEIR_WAY = 128
LOOK = 0.003
CLONE_NEWNET = 0x40000000


class Direction:
    """What becomes of bytes from one node to the other."""

    def __init__(self):
        self.delay, self.bytes_per_second, self.silent = 0.0, None, False
        self.bytes = 0

    async def speaks(self):
        while self.silent:
            await asyncio.sleep(LOOK)


class Forwarder:
    """Both directions: `routes` is a list of (from, to, listen address, target address)."""

    def __init__(self, routes, namespace=None, seed=1):
        self.routes, self.namespace = routes, namespace
        self.directions = {(one, other): Direction() for one, other, _, _ in routes}
        self.chance, self.pairs = random.Random(seed), set()
        self.loop, self.started, self.failed = asyncio.new_event_loop(), threading.Event(), None
        self.loss = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.started.wait(10)
        if self.failed:
            raise self.failed

    # ---- what a scenario does to it ------------------------------------------------------------

    def between(self, one, other):
        return self.directions[(one, other)]

    def both(self, **values):
        for direction in self.directions.values():
            for name, value in values.items():
                setattr(direction, name, value)

    def cut(self):
        self.loop.call_soon_threadsafe(self.reset_all)

    def cut_now_and_then(self, seconds):
        """Resets all connections after random times with this mean; None: no more."""
        self.loss = seconds

    def heal(self):
        self.loss = None
        self.both(delay=0.0, bytes_per_second=None, silent=False)

    # ---- the loop ------------------------------------------------------------------------------

    def run(self):
        try:
            if self.namespace:
                enter_network(self.namespace)
            asyncio.set_event_loop(self.loop)
            for one, other, listen, target in self.routes:
                handler = self.handler(one, other, target)
                self.loop.run_until_complete(asyncio.start_server(handler, *listen, backlog=64))
            self.loop.create_task(self.lose())
        except OSError as error:
            self.failed = error
            return
        finally:
            self.started.set()
        self.loop.run_forever()

    async def lose(self):
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / self.loss) if self.loss else 0.05)
            if self.loss:
                self.reset_all()

    def reset_all(self):
        for pair in list(self.pairs):
            for writer in pair:
                reset(writer)
        self.pairs.clear()

    def handler(self, one, other, target):
        there, back = self.directions[(one, other)], self.directions.setdefault((other, one), Direction())

        async def handle(reader, writer):
            # A silent wire carries no greeting either: the other node sees no connection yet.
            await there.speaks()
            if reader.at_eof():
                writer.close()
                return
            try:
                far_reader, far_writer = await asyncio.open_connection(*target)
            except OSError:
                reset(writer)
                return
            pair = (writer, far_writer)
            self.pairs.add(pair)
            ways = [self.pump(reader, far_writer, there), self.pump(far_reader, writer, back)]
            await asyncio.gather(*ways, return_exceptions=True)
            self.pairs.discard(pair)
            for end in pair:
                end.close()

        return handle

    async def pump(self, reader, writer, direction):
        on_their_way = asyncio.Queue(CHUNKS_ON_THEIR_WAY)

        async def arrive():
            while True:
                due, chunk = await on_their_way.get()
                late = due + direction.delay - time.monotonic()
                if late > 0:
                    await asyncio.sleep(late)
                await direction.speaks()
                if chunk is None:
                    writer.close()
                    return
                if direction.bytes_per_second:
                    await asyncio.sleep(len(chunk) / direction.bytes_per_second)
                direction.bytes += len(chunk)
                writer.write(chunk)
                await writer.drain()

        arriving = asyncio.ensure_future(arrive())
        try:
            while True:
                size = CHUNK_BYTES
                if direction.bytes_per_second:
                    size = max(512, min(CHUNK_BYTES, direction.bytes_per_second // 50))
                chunk = await reader.read(size)
                await on_their_way.put((time.monotonic(), chunk or None))
                if not chunk:
                    break
            await arriving
        except OSError:
            # A reset: what was on its way is lost, and the other side is reset, too.
            await direction.speaks()
            reset(writer)
        finally:
            arriving.cancel()


def reset(writer):
    """Closes with RST, so that neither side takes it for an orderly end."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
    if writer.transport is not None:
        writer.transport.abort()


def enter_network(name):
    """Puts this thread, and those that it starts, into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    file = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if libc.setns(file, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {name}")
    finally:
        os.close(file)
