"""Logs in by every mechanism that sends or proves a password, and reads a mailbox compressed: host port user password."""

import base64
import hashlib
import hmac
import imaplib
import os
import sys

from deflated import Client

host, port, user, password = sys.argv[1:]


def scram(nonce):
    """RFC 5802 as a client, with the server's proof checked: answers for imaplib's `authenticate`."""
    first = f"n={user},r={nonce}"
    state = {}

    def answer(challenge):
        if "server_first" not in state:
            if not challenge:
                return f"n,,{first}"
            state["server_first"] = server_first = challenge.decode()
            fields = dict(field.split("=", 1) for field in server_first.split(","))
            assert fields["r"].startswith(nonce) and len(fields["r"]) > len(nonce)
            salt, count = base64.b64decode(fields["s"]), int(fields["i"])
            assert count >= 4096
            salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, count)
            mac = lambda key, text: hmac.digest(key, text, "sha256")
            client_key = mac(salted, b"Client Key")
            unproven = f"c=biws,r={fields['r']}"
            message = f"{first},{server_first},{unproven}".encode()
            signature = mac(hashlib.sha256(client_key).digest(), message)
            proof = bytes(a ^ b for a, b in zip(client_key, signature))
            state["signed"] = base64.b64encode(mac(mac(salted, b"Server Key"), message)).decode()
            return f"{unproven},p={base64.b64encode(proof).decode()}"
        assert challenge.decode() == f"v={state['signed']}", "the server does not know the password"
        state["proved"] = True
        return ""

    return answer, state


def connected():
    return imaplib.IMAP4(host, int(port))


with connected() as client:
    offered = client.capabilities
    assert {"AUTH=PLAIN", "AUTH=LOGIN", "AUTH=SCRAM-SHA-256"} <= set(offered), offered
    client.login(user, password)

with connected() as client:
    client.authenticate("PLAIN", lambda _: f"\0{user}\0{password}".encode())

with connected() as client:
    words = iter([user, password])
    client.authenticate("LOGIN", lambda _: next(words))

with connected() as client:
    answer, state = scram(base64.b64encode(os.urandom(18)).decode())
    client.authenticate("SCRAM-SHA-256", answer)
    assert state.get("proved")

right, password = password, password + "x"
with connected() as client:
    answer, state = scram("abc")
    try:
        client.authenticate("SCRAM-SHA-256", answer)
        raise SystemExit("a wrong password was proved")
    except imaplib.IMAP4.error as error:
        assert "AUTHENTICATIONFAILED" in str(error), error
password = right


with Client(host, int(port)) as client:
    client.login(user, password)
    client.begin()
    status, data = client.select("INBOX")
    assert status == "OK", data
    body = b"A line that is the same each time.\r\n" * 20_000
    status, data = client.append("INBOX", None, None, b"Subject: deflated\r\n\r\n" + body)
    assert status == "OK", data
    for _ in range(3):
        status, data = client.fetch(str(int(client.select("INBOX")[1][0])), "(BODY.PEEK[TEXT])")
        assert status == "OK" and data[0][1] == body, "other bytes than were sent"
    assert client.deflated.received < len(body) // 10, client.deflated.received
    status, text = client.xatom("COMPRESS", "DEFLATE")
    assert status == "NO" and b"COMPRESSIONACTIVE" in text[0], (status, text)
print("all logins and the compressed session went well")
