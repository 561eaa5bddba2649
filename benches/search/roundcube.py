#!/usr/bin/env python3
"""How long a person waits for a search in Roundcube (from Debian, in headless Chromium): from the
search's start in the browser until the list shows what was found, by Roundcube's own clock.

    roundcube.py FOLDER IMAP_PORT HTTP_PORT DRIVER_PORT USER PASSWORD MAILBOX TERM…

FOLDER is new, and Roundcube's; MAILBOX the one to search in. A TERM is looked for in Subject and
From, which Roundcube does unless told otherwise, and in whole messages, each five times.
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "clients"))
import roundcube  # noqa: E402

TIMES = 5
SEARCH = """
    const [term, fields, done] = arguments, begun = performance.now();
    rcmail.env.search_mods = {'*': fields};
    rcmail.set_searchscope('base');
    const shown = () => {
        rcmail.removeEventListener('listupdate', shown);
        done([performance.now() - begun, rcmail.env.messagecount]);
    };
    rcmail.addEventListener('listupdate', shown);
    rcmail.gui_objects.qsearchbox.value = term;
    rcmail.command('search');
"""


def search(browser):
    mailbox, *terms = roundcube.rest
    roundcube.log_in(browser)
    browser.run("rcmail.command('list', arguments[0])", mailbox)
    browser.wait("the mailbox", "!rcmail.busy && rcmail.env.messagecount > 0")
    print(f"{browser.run('return rcmail.env.messagecount')} messages")
    script = roundcube.ask
    for term in terms:
        for where, fields in [("Subject, From", {"subject": 1, "from": 1}), ("all text", {"text": 1})]:
            body = {"script": SEARCH, "args": [term, fields]}
            found = [script("POST", browser.path + "/execute/async", body) for _ in range(TIMES)]
            times = sorted(time for time, _ in found)
            print(f"{term!r} in {where}: {found[0][1]} found; first {found[0][0]:.0f} ms, "
                  f"middle {times[TIMES // 2]:.0f} ms, slowest {times[-1]:.0f} ms")


roundcube.main(search)
