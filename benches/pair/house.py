"""The house: two nodes in network namespaces, clients outside of them, a wire between that can be broken.

    outside ─ front ─ a ─ back ┐          front: mail programs and servers, and the etcd
            ─ front ─ b ─ back ┴ wire     back: the pair alone, through our forwarder or routed
            ─ front ─ third               third: the etcd

With leave to make namespaces (root, in most containers) the script starts itself again in namespaces of
its own for network, mounts and processes, so that nothing is left when it ends, however it ends. Without
that leave everything is on loopback, and what only namespaces can do (packet filters, links, disks of
their own) is skipped, which is said aloud.
"""

import imaplib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

import forwarder

INSIDE = "PILLARBOX_PROOF_INSIDE"
DOMAIN, PASSWORD = "example.org", "correct horse battery"
USERS = [f"u{number}@{DOMAIN}" for number in range(4)]
WAIT_SECONDS_MAX = 60
PATIENCE = 2.0
NODE_LINES = "reserve_bytes = 4194304\nsegment_bytes = 4194304\n"


class Trouble(Exception):
    """A scenario ended otherwise than it should."""


def wait(what, is_so, seconds=WAIT_SECONDS_MAX, step=0.02):
    """Waits for an event; what it was waiting for stands in the complaint."""
    end = time.monotonic() + seconds
    while True:
        answer = is_so()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Trouble(f"waited {seconds} s in vain: {what}")
        time.sleep(step)


def has_rooms():
    """Whether this process stands in namespaces of its own."""
    return os.environ.get(INSIDE) == "yes"


def move_in():
    """Starts this script again in namespaces of its own, where that is allowed."""
    if INSIDE in os.environ:
        return
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    test = "mount -t tmpfs none /run && ip link add x type veth peer name y"
    found = all(shutil.which(name) for name in ("unshare", "ip", "nsenter", "mount"))
    is_allowed = found and quiet(words + ["sh", "-c", test]) == 0
    environment = dict(os.environ, **{INSIDE: "yes" if is_allowed else "no"})
    if not is_allowed:
        print("******** no namespaces here: loopback and the forwarder alone ********", file=sys.stderr)
        words = []
    command = words + [sys.executable, *sys.argv]
    os.execvpe(command[0], command, environment)


def quiet(command):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def do(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise Trouble(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


class House:
    """Namespaces, wires and the folder of everything; ends with `close`."""

    def __init__(self, seed=1, routed=False, scratch=None):
        self.folder = tempfile.mkdtemp(prefix="pair-house-", dir=scratch)
        self.rooms, self.seed, self.routed = has_rooms(), seed, routed
        self.servers, self.mounts, self.etcd = [], [], None
        self.ports = iter(range(20000 + os.getpid() % 9000, 32000))
        if self.rooms:
            self.build()
        # Where each node listens for the other, and where the other one reaches it.
        self.listen, self.reached, routes = {}, {}, []
        for number, name in ((1, "a"), (2, "b")):
            self.listen[name] = (f"10.78.{number}.2", 4190) if self.rooms else self.loopback()
        for number, name, other in ((1, "a", "b"), (2, "b", "a")):
            at = (f"10.78.{number}.1", 4190) if self.rooms else self.loopback()
            self.reached[other] = self.listen[other] if routed else at
            routes.append((name, other, at, self.listen[other]))
        self.wire = forwarder.Forwarder(routes, "wire" if self.rooms else None, seed)

    def build(self):
        quiet(["mount", "-t", "tmpfs", "none", "/run"])
        os.makedirs("/run/netns", exist_ok=True)
        do("ip", "link", "set", "lo", "up")
        for name in ("a", "b", "third", "wire"):
            do("ip", "netns", "add", name)
            do("ip", "-n", name, "link", "set", "lo", "up")
        for number, name in ((1, "a"), (2, "b"), (3, "third")):
            self.cable(f"to-{name}", None, f"10.77.{number}.1", "front", name, f"10.77.{number}.2")
            do("ip", "-n", name, "route", "add", "10.77.0.0/16", "via", f"10.77.{number}.1")
        for number, name in ((1, "a"), (2, "b")):
            self.cable(f"to-{name}", "wire", f"10.78.{number}.1", "back", name, f"10.78.{number}.2")
            do("ip", "-n", name, "route", "add", "10.78.0.0/16", "via", f"10.78.{number}.1")
            filters = "add table inet house; add chain inet house in { type filter hook input priority 0; };"
            filters += "add chain inet house out { type filter hook output priority 0; }"
            if shutil.which("nft"):
                self.enter(name, "nft", filters)
        for name in (None, "wire"):
            self.enter(name, "sysctl", "-qw", "net.ipv4.ip_forward=1")

    def cable(self, one, at, address, other, there, far_address):
        """A pair of interfaces: `one` in the namespace `at` (None: outside), `other` in `there`."""
        do("ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
        do("ip", "link", "set", "far", "netns", there, "name", other)
        words = ["ip", "link", "set", "near"] + (["netns", at] if at else []) + ["name", one]
        do(*words)
        for name, link, own in ((at, one, address), (there, other, far_address)):
            where = ["-n", name] if name else []
            do("ip", *where, "address", "add", f"{own}/24", "dev", link)
            do("ip", *where, "link", "set", link, "up")

    def enter(self, name, *words):
        return do(*self.inside(name), *words)

    def inside(self, name):
        """What stands before a command that is to run in a namespace."""
        return ["nsenter", f"--net=/run/netns/{name}"] if self.rooms and name else []

    def loopback(self):
        for port in self.ports:
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                    return ("127.0.0.1", port)
                except OSError:
                    continue
        raise Trouble("no port is free")

    def front(self, name, port):
        """An address of a node for clients."""
        number = {"a": 1, "b": 2, "third": 3}[name]
        return (f"10.77.{number}.2", port) if self.rooms else self.loopback()

    # ---- breaking and mending ------------------------------------------------------------------

    def drop(self, name, way, link="back"):
        """Packets that come in ("in") or go out ("out") by a link of a node are thrown away."""
        word = "iifname" if way == "in" else "oifname"
        self.enter(name, "nft", f"add rule inet house {way} {word} {link} drop")

    def drop_nothing(self, name):
        self.enter(name, "nft", "flush chain inet house in; flush chain inet house out")

    def link(self, name, link, state):
        """`ip link set … up|down`; routes go with the link and are put back."""
        self.enter(name, "ip", "link", "set", link, state)
        if state == "up":
            number = {"a": 1, "b": 2}[name]
            net = {"front": 77, "back": 78}[link]
            self.enter(name, "ip", "route", "replace", f"10.{net}.0.0/16", "via", f"10.{net}.{number}.1")

    def disk(self, name, mebibytes):
        """A disk of its own for a node, so that it can be full."""
        place = os.path.join(self.folder, name)
        os.makedirs(place, exist_ok=True)
        do("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", place)
        self.mounts.append(place)
        return Disk(place)

    def start_etcd(self):
        """An etcd of one member; answers its address for configurations."""
        client, peer = self.front("third", 2379), self.front("third", 2380)
        urls = [f"http://{host}:{port}" for host, port in (client, peer)]
        command = self.inside("third") + ["etcd", "--data-dir", os.path.join(self.folder, "etcd")]
        command += ["--log-level", "error", "--listen-client-urls", urls[0], "--listen-peer-urls", urls[1]]
        command += ["--advertise-client-urls", urls[0], "--initial-advertise-peer-urls", urls[1]]
        command += ["--initial-cluster", f"default={urls[1]}"]
        self.etcd = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait("etcd listens", lambda: can_connect(client))
        return urls[0]

    def close(self):
        for server in self.servers:
            server.end()
        if self.etcd:
            self.etcd.kill()
            self.etcd.wait()
        for place in self.mounts:
            quiet(["umount", "-l", place])
        if self.rooms:
            for name in ("a", "b", "third"):
                quiet(["ip", "link", "del", f"to-{name}"])
            for name in ("a", "b", "third", "wire"):
                quiet(["ip", "netns", "del", name])
        shutil.rmtree(self.folder, ignore_errors=True)


def can_connect(address):
    try:
        socket.create_connection(address, 1).close()
        return True
    except OSError:
        return False


class Disk:
    """A small disk."""

    def __init__(self, place):
        self.place, self.ballast = place, os.path.join(place, "ballast")

    def fill(self, leave_bytes=0):
        free = os.statvfs(self.place)
        count = free.f_bavail * free.f_frsize - leave_bytes
        if count > 0:
            with open(self.ballast, "ab") as file:
                os.posix_fallocate(file.fileno(), file.tell(), count)

    def relieve(self):
        os.unlink(self.ballast)


class Server:
    """What mail programs and a mail server see of a node, whoever made its software."""

    def __init__(self, house, name):
        self.house, self.name = house, name
        self.lmtp, self.imap = house.front(name, 24), house.front(name, 993)
        self.process = None
        house.servers.append(self)

    def connect(self, user, patience=PATIENCE):
        """An IMAP session."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        session = imaplib.IMAP4_SSL(*self.imap, ssl_context=context, timeout=patience)
        session.login(user, PASSWORD)
        return session

    def signal(self, number):
        self.process.send_signal(number)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """kill -9."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def end(self):
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()

    def greets(self):
        if self.process.poll() is not None:
            raise Trouble(f"{self.name} ended with {self.process.returncode}: {self.last_words()}")
        try:
            with socket.create_connection(self.lmtp, 5) as greeted:
                return greeted.recv(3) == b"220"
        except OSError:
            return False

    def last_words(self):
        if not os.path.exists(self.log):
            return "it never ran"
        with open(self.log, errors="replace") as file:
            return "\n".join(file.read().splitlines()[-12:])

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Node(Server):
    """A Pillarbox."""

    def __init__(self, house, name, binary, mode, more=""):
        super().__init__(house, name)
        folder = os.path.join(house.folder, name)
        os.makedirs(folder, exist_ok=True)
        self.binary, self.mode, self.more = os.path.abspath(binary), mode, more
        self.data, self.config = os.path.join(folder, "store"), os.path.join(folder, "pillarbox.toml")
        self.log = os.path.join(house.folder, f"{name}.log")

    def configure(self, mode=None, more=None):
        """Used from the next start on."""
        self.mode = mode or self.mode
        self.more = self.more if more is None else more
        address = lambda pair: f'"{pair[0]}:{pair[1]}"'
        with open(self.config, "w") as file:
            file.write(
                f'[store]\ndirectory = "{self.data}"\nhost_name = "{self.name}.{DOMAIN}"\n{NODE_LINES}'
                f"[imap]\nlisten = []\nlisten_tls = [{address(self.imap)}]\n"
                f"[lmtp]\nlisten = [{address(self.lmtp)}]\n[smtp]\nlisten = []\n"
                f"[pop3]\nlisten = []\nlisten_tls = []\n"
                f'[pair]\nlisten = {address(self.house.listen[self.name])}\nacknowledge = "{self.mode}"\n'
                f'{self.more}[log]\nlevel = "info"\n'
            )

    def run(self, *words, check=True):
        """A command of the binary, in the namespace of the node."""
        environment = dict(os.environ, PILLARBOX_PASSWORD=PASSWORD)
        command = self.house.inside(self.name) + [self.binary, *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        if check and done.returncode:
            raise Trouble(f"{self.name}: {' '.join(words)}: {done.stdout}{done.stderr}")
        return done

    def command(self, *words, check=True):
        return self.run(*words, "--config", self.config, check=check)

    def spawn(self, *words):
        command = self.house.inside(self.name) + [self.binary, "serve", "--config", self.config, *words]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def start(self, *words):
        self.spawn(*words)
        wait(f"{self.name} greets", self.greets)

    def stop(self):
        self.signal(signal.SIGTERM)
        if self.process.wait(60):
            raise Trouble(f"{self.name} ended with {self.process.returncode}: {self.last_words()}")
        self.process = None

    def complaints(self):
        """Lines of the log at which a person would look."""
        with open(self.log, errors="replace") as file:
            return [line for line in file if " ERROR " in line or "panicked" in line]

    def status(self):
        """`replica status` with its one volume; None while the node does not answer."""
        done = self.command("replica", "status", "--json", check=False)
        if done.returncode:
            return None
        whole = json.loads(done.stdout)
        return {**whole, **whole["volumes"][0]}

    def role(self):
        status = self.status()
        return status and status["role"]

    def is_held(self):
        """It has a checkpoint to go back to."""
        return os.path.exists(os.path.join(self.data, "volumes/main/held/current"))


def make_pair(house, binary, mode, more=""):
    """Both nodes, the second one joined and in step with the first."""
    first, second = (Node(house, name, binary, mode, more) for name in ("a", "b"))
    key = lambda node: ("--new-key-file", node.data + ".key")
    first.run("init", first.data, *key(first))
    first.configure()
    second.configure()
    first.command("domain", "add", DOMAIN)
    for user in USERS:
        first.command("account", "add", user)
    first.start()
    host, port = house.reached["a"]
    invited = first.command("replica", "invite", "--address", f"{host}:{port}").stdout
    token = next(word for word in invited.split() if word.startswith("pillarbox-join-"))
    host, port = house.reached["b"]
    second.run("replica", "join", token, second.data, *key(second), "--address", f"{host}:{port}")
    second.start()
    await_together(first, second)
    wait("both hold a checkpoint", lambda: first.is_held() and second.is_held())
    return first, second


def is_together(primary, follower):
    """The follower has all that the primary has, and nothing is to be merged."""
    one, other = primary.status(), follower.status()
    if not one or not other or one["role"] != "primary" or other["role"] != "follower":
        return False
    has_all = one["is_there"] and not one["is_degraded"] and one["last"] == one["noted"]
    is_known = one["etcd"] is None or ", node " in one["etcd"]
    return has_all and is_known and not other["is_merging"] and not one["is_merging"]


def await_together(*nodes, seconds=WAIT_SECONDS_MAX):
    """Whichever is primary; answers (primary, follower)."""
    orders = (nodes, nodes[::-1])
    try:
        return wait(
            "both nodes have the same",
            lambda: next((order for order in orders if is_together(*order)), None),
            seconds,
        )
    except Trouble as trouble:
        words = [f"{node.name}: {node.status()}" for node in nodes]
        raise Trouble("\n".join([str(trouble), *words])) from None
