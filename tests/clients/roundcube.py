"""Roundcube from Debian in headless Chromium, as a person uses it: folder imap-port http-port driver-port user password shared-mailbox.

PHP's own server runs Roundcube, chromedriver the browser (W3C WebDriver). The page is asked by its
own script object, `rcmail`, when it has done what a click asked for.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

folder, imap_port, http_port, driver_port, user, password, *rest = sys.argv[1:]
folder = pathlib.Path(folder)
PUBLIC = "/var/lib/roundcube/public_html"
DEFAULTS = "/etc/roundcube/defaults.inc.php"
PATIENCE_SECONDS = 60


def configure():
    for name in ("config", "logs", "temp", "profile"):
        (folder / name).mkdir(parents=True)
    shutil.copy(DEFAULTS, folder / "config" / "defaults.inc.php")
    settings = {
        "db_dsnw": f"sqlite:///{folder}/db.sqlite?mode=0640",
        "imap_host": f"127.0.0.1:{imap_port}",
        "des_key": "0123456789abcdef01234567",
        "plugins": [],
        "skin": "elastic",
        "log_driver": "file",
        "log_dir": f"{folder}/logs",
        "temp_dir": f"{folder}/temp",
        "session_domain": "",
        "language": "en_US",
        "create_default_folders": False,
        "draft_autosave": 0,
        "message_threading": False,
    }
    lines = [f"$config[{json.dumps(k)}] = {php(v)};" for k, v in settings.items()]
    (folder / "config" / "config.inc.php").write_text("<?php\n$config = [];\n" + "\n".join(lines))


def php(value):
    if isinstance(value, list):
        return "[" + ", ".join(php(v) for v in value) + "]"
    return json.dumps(value).replace("$", "\\$")


def start():
    # Without workers PHP answers one request after the other, so that a transcript has an order.
    environment = dict(os.environ, ROUNDCUBE_CONFIG_DIR=str(folder / "config"))
    log = open(folder / "php.log", "wb")
    php_server = subprocess.Popen(
        ["php", "-S", f"127.0.0.1:{http_port}", "-t", PUBLIC],
        env=environment, stdout=log, stderr=log, start_new_session=True,
    )
    log = open(folder / "chromedriver.log", "wb")
    driver = subprocess.Popen(
        ["chromedriver", f"--port={driver_port}"], stdout=log, stderr=log, start_new_session=True
    )
    return [php_server, driver]


def ask(method, path, body=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{driver_port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        return json.load(answer)["value"]


def wait_for(what, attempt):
    begun = time.monotonic()
    seen = None
    while time.monotonic() - begun < PATIENCE_SECONDS:
        try:
            seen = attempt()
            if seen:
                return seen
        except (urllib.error.URLError, ConnectionError) as error:
            seen = error.read().decode() if hasattr(error, "read") else error
        time.sleep(0.05)
    raise SystemExit(f"waited in vain for {what}: {seen}")


class Browser:
    def __init__(self):
        options = {
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--window-size=1400,1000", f"--user-data-dir={folder}/profile",
            ]
        }
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        wait_for("chromedriver", lambda: ask("GET", "/status")["ready"])
        self.path = "/session/" + ask("POST", "/session", wanted)["sessionId"]

    def run(self, script, *arguments):
        body = {"script": script, "args": list(arguments)}
        return ask("POST", self.path + "/execute/sync", body)

    def wait(self, what, script):
        return wait_for(what, lambda: self.run("return " + script))

    def element(self, selector):
        body = {"using": "css selector", "value": selector}
        found = wait_for(selector, lambda: ask("POST", self.path + "/element", body))
        return self.path + "/element/" + next(iter(found.values()))

    def click(self, selector):
        wait_for(f"a click on {selector}", lambda: self.clicked(selector))

    def clicked(self, selector):
        ask("POST", self.element(selector) + "/click", {})
        return True

    def type(self, selector, text):
        ask("POST", self.element(selector) + "/value", {"text": text})

    def idle(self):
        self.wait("Roundcube is ready", "window.rcmail && !rcmail.busy && rcmail.env.task == 'mail'")

    def subjects(self, count):
        """What the list shows, when it shows so many."""
        script = """[...document.querySelectorAll('#messagelist tbody tr')]
            .filter(row => row.style.display != 'none')
            .map(row => row.querySelector('.subject a').innerText.trim())"""
        self.wait(f"{count} rows", f"!rcmail.busy && {script}.length == {count}")
        return self.run("return " + script)

    def select(self, subject):
        self.run(
            """for (const row of document.querySelectorAll('#messagelist tbody tr'))
                if (row.querySelector('.subject a').innerText.trim() == arguments[0])
                    rcmail.message_list.select(row.uid);""",
            subject,
        )
        self.wait("a message is selected", "rcmail.message_list.get_single_selection()")


def log_in(browser):
    ask("POST", browser.path + "/url", {"url": f"http://127.0.0.1:{http_port}/"})
    browser.type("#rcmloginuser", user)
    browser.type("#rcmloginpwd", password)
    browser.click("#rcmloginsubmit")
    browser.idle()


def work(browser):
    [shared] = rest
    log_in(browser)
    assert browser.subjects(4) == ["with attachment", "to delete", "to move", "Grüße"], "the list"

    # Open the mail with an attachment, and fetch that.
    browser.select("with attachment")
    uid = browser.run("return rcmail.message_list.get_single_selection()")
    page = f"http://127.0.0.1:{http_port}/?_task=mail&_mbox=INBOX&_uid={uid}&_action=show"
    ask("POST", browser.path + "/url", {"url": page})
    browser.wait("the body", "document.querySelector('#messagebody').innerText.includes('See it')")
    link = "#attachment-list a"
    assert "table.csv" in browser.wait("the attachment", f"document.querySelector('{link}').innerText")
    href = browser.run(f"return document.querySelector('{link}').href")
    script = """const done = arguments[1];
        fetch(arguments[0] + '&_download=1').then(a => a.text()).then(done, e => done('' + e));"""
    text = ask("POST", browser.path + "/execute/async", {"script": script, "args": [href]})
    assert text == "a;b\r\n1;2\r\n", text

    # Search, and back to the list.
    ask("POST", browser.path + "/url", {"url": f"http://127.0.0.1:{http_port}/?_task=mail"})
    browser.idle()
    browser.subjects(4)
    browser.run("rcmail.gui_objects.qsearchbox.value = arguments[0]; rcmail.command('search')", "Grüße")
    assert browser.subjects(1) == ["Grüße"]
    browser.run("rcmail.command('reset-search')")
    browser.subjects(4)

    # Move, flag, delete.
    browser.select("to move")
    browser.run("rcmail.command('move', 'Archive')")
    browser.subjects(3)
    browser.select("Grüße")
    browser.run("rcmail.command('mark', 'flagged')")
    browser.wait("the flag", "document.querySelector('#messagelist tr.flagged') && !rcmail.busy")
    browser.select("to delete")
    browser.run("rcmail.command('delete')")
    assert browser.subjects(2) == ["with attachment", "Grüße"]
    browser.run("rcmail.command('list', 'Archive')")
    assert browser.subjects(1) == ["to move"]

    # What somebody else shares.
    browser.run("rcmail.command('list', arguments[0])", shared)
    browser.wait("the shared mailbox", f"rcmail.env.mailbox == {json.dumps(shared)}")
    assert browser.subjects(1) == ["shared"]


def main(work):
    configure()
    processes = start()
    try:
        browser = Browser()
        try:
            work(browser)
        finally:
            ask("DELETE", browser.path)
    finally:
        for process in processes:
            # With all that they have started.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    for log in (folder / "logs").glob("errors*"):
        raise SystemExit(f"Roundcube complains: {log.read_text()}")
    print("a person's work with Roundcube went well")


if __name__ == "__main__":
    main(work)
