"""Reads and empties a maildrop: host port tls_port certificate user password folder. Files are named by unique id."""

import os
import poplib
import ssl
import sys

host, port, tls_port, certificate, user, password, folder = sys.argv[1:]
poplib._MAXLINE = 100_000_000
trusting = ssl.create_default_context(cafile=certificate)


def joined(lines):
    return b"".join(line + b"\r\n" for line in lines)


with_stls = poplib.POP3("localhost", int(port))
assert {"STLS", "PIPELINING", "UIDL", "TOP", "SASL", "EXPIRE"} <= set(with_stls.capa()), with_stls.capa()
with_stls.stls(trusting)
with_stls.user(user)
try:
    with_stls.pass_(password + "x")
    raise SystemExit("a wrong password was taken")
except poplib.error_proto as error:
    assert b"[AUTH]" in error.args[0], error
with_stls.user(user)
with_stls.pass_(password)
count, total = with_stls.stat()
sizes = [tuple(map(int, line.split())) for line in with_stls.list()[1]]
assert len(sizes) == count and sum(size for _, size in sizes) == total
ids = dict(line.decode().split() for line in with_stls.uidl()[1])
assert len(set(ids.values())) == count
for number, size in sizes:
    message = joined(with_stls.retr(number)[1])
    assert len(message) in (size, size + 2), (number, len(message), size)
    with open(os.path.join(folder, ids[str(number)]), "wb") as file:
        file.write(message)
    top = joined(with_stls.top(number, 0)[1])
    assert message.startswith(top.rstrip(b"\r\n")), number
with_stls.dele(1)
with_stls.quit()

again = poplib.POP3_SSL("localhost", int(tls_port), context=trusting)
again.user(user)
again.pass_(password)
left = [line.decode().split()[1] for line in again.uidl()[1]]
assert left == [id for number, id in ids.items() if number != "1"], "what was deleted is gone, the rest stays"
for number in range(1, len(left) + 1):
    again.dele(number)
again.rset()
assert again.stat()[0] == len(left)
again.quit()
print("the maildrop was read")
