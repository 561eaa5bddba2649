#!/usr/bin/env python3
"""What an idle TLS connection costs, in Pillarbox and in Dovecot.

Question: how much memory does the server take more with many connections that sit in IDLE over TLS
than without? Dataset: one account with an empty INBOX. Unit: bytes of proportional set size (PSS) of
all processes of the server, a connection. Kernel buffers of sockets are not in it.

    run.py --pillarbox BINARY --load BINARY [--count N] [--dovecot-count N] [--commands "SELECT INBOX" IDLE]

The load is the example `idle-load` (benches/idle/connect.rs). Dovecot has a process for each connection,
so fewer are enough to know its price.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

USER, PASSWORD = "demo@example.org", "correct horse battery"


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def descendants(root):
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                parent = int(file.read().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def pss_bytes(root):
    total = 0
    for pid in descendants(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
        except OSError:
            pass
    return total


def wait_for(port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server does not answer")


def pillarbox(binary, folder):
    port, data = free_port(), os.path.join(folder, "data")
    config = os.path.join(folder, "pillarbox.toml")
    with open(config, "w") as file:
        file.write(
            f'[store]\ndirectory = "{data}"\nreserve_bytes = 0\n[lmtp]\nlisten = []\n'
            f'[imap]\nlisten = []\nlisten_tls = ["127.0.0.1:{port}"]\nconnections_per_user = 100000\n'
        )
    run = lambda *words: subprocess.run(
        [binary, *words], check=True, stdout=subprocess.DEVNULL, env=dict(os.environ, PILLARBOX_PASSWORD=PASSWORD)
    )
    run("init", data, "--new-key-file", data + ".key")
    run("domain", "add", "example.org", "--config", config)
    run("account", "add", USER, "--config", config)
    log = open(os.path.join(folder, "log"), "w")
    return subprocess.Popen([binary, "serve", "--config", config], stderr=log), port


def dovecot(folder):
    port = free_port()
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {folder}/key.pem "
        f"-out {folder}/cert.pem -subj /CN=localhost -days 9",
        shell=True, check=True, stderr=subprocess.DEVNULL,
    )
    os.chmod(folder, 0o755)
    os.makedirs(f"{folder}/mail")
    os.chown(f"{folder}/mail", 65534, 65534)
    with open(f"{folder}/users", "w") as file:
        file.write(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    config = f"{folder}/dovecot.conf"
    with open(config, "w") as file:
        file.write(f"""base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
mail_location = mdbox:{folder}/mail/%u
first_valid_uid = 1
mail_max_userip_connections = 0
passdb {{
 driver = passwd-file
 args = {folder}/users
}}
userdb {{
 driver = static
 args = uid=65534 gid=65534 home={folder}/mail/%u
}}
default_process_limit = 20000
default_client_limit = 50000
service imap {{
 process_limit = 20000
}}
service imap-login {{
 process_limit = 100
 service_count = 0
 client_limit = 10000
 inet_listener imap {{
  port = 0
 }}
 inet_listener imaps {{
  port = {port}
 }}
}}
""")
    return subprocess.Popen(["dovecot", "-F", "-c", config]), port


def measure(name, server, port, load, count, commands):
    try:
        wait_for(port)
        # What the first logins leave behind is no price of a connection.
        for number in (8, count):
            time.sleep(2)
            before = pss_bytes(server.pid)
            words = [load, f"127.0.0.1:{port}", str(number), USER, PASSWORD, *commands]
            begun = time.monotonic()
            client = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            line = client.stdout.readline()
            assert line == f"open {number}\n", line
            took = time.monotonic() - begun
            time.sleep(8)
            after = pss_bytes(server.pid)
            client.stdin.close()
            client.wait()
        time.sleep(5)
        behind = pss_bytes(server.pid)
        each = (after - before) / count
        print(
            f"{name}: {count} connections ({' '.join(commands)}): {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB "
            f"with them, {each / 1024:.1f} KiB each, {behind / 1e6:.1f} MB after; opened in {took:.0f} s",
            flush=True,
        )
        return each
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--count", type=int, default=9900)
    parser.add_argument("--dovecot-count", type=int, default=500)
    parser.add_argument("--commands", nargs="*", default=["SELECT INBOX", "IDLE"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server, port = pillarbox(os.path.abspath(arguments.pillarbox), folder)
        ours = measure("pillarbox", server, port, arguments.load, arguments.count, arguments.commands)
    if arguments.dovecot_count and shutil.which("dovecot"):
        with tempfile.TemporaryDirectory() as folder:
            server, port = dovecot(folder)
            theirs = measure("dovecot", server, port, arguments.load, arguments.dovecot_count, arguments.commands)
        print(f"ratio ours / theirs: {ours / theirs:.4f}")


if __name__ == "__main__":
    main()
