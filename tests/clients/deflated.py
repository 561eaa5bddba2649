"""imaplib over COMPRESS=DEFLATE (RFC 4978), which it does not know by itself."""

import imaplib
import zlib

imaplib.Commands["COMPRESS"] = ("AUTH", "SELECTED")


class Deflated:
    """A file over raw deflate, as imaplib reads and writes it."""

    def __init__(self, sock):
        self.sock, self.text, self.received = sock, b"", 0
        self.inflater, self.deflater = zlib.decompressobj(-15), zlib.compressobj(9, zlib.DEFLATED, -15)

    def more(self):
        piece = self.sock.recv(65536)
        assert piece, "the server hung up"
        self.received += len(piece)
        self.text += self.inflater.decompress(piece)

    def read(self, count):
        while len(self.text) < count:
            self.more()
        found, self.text = self.text[:count], self.text[count:]
        return found

    def readline(self, _limit=None):
        while b"\n" not in self.text:
            self.more()
        return self.read(self.text.index(b"\n") + 1)

    def send(self, data):
        self.sock.sendall(self.deflater.compress(data) + self.deflater.flush(zlib.Z_SYNC_FLUSH))

    def close(self):
        pass


class Client(imaplib.IMAP4):
    deflated = None

    def begin(self):
        status, text = self.xatom("COMPRESS", "DEFLATE")
        assert status == "OK", text
        self.deflated = self.file = Deflated(self.sock)

    def send(self, data):
        self.deflated.send(data) if self.deflated else super().send(data)

    def read(self, size):
        return self.deflated.read(size) if self.deflated else super().read(size)

    def readline(self):
        return self.deflated.readline() if self.deflated else super().readline()
