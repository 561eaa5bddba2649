"""Counts the messages, and the seen ones, of an exported Maildir or folder of mboxes: kind path."""

import mailbox
import pathlib
import sys

kind, path = sys.argv[1:]


def boxes():
    if kind == "maildir":
        # Python takes messages that programs name with a colon, as we do.
        root = mailbox.Maildir(path, create=False)
        yield root
        for name in root.list_folders():
            yield root.get_folder(name)
    else:
        for file in sorted(pathlib.Path(path).glob("*.mbox")):
            yield mailbox.mbox(file, create=False)


count = seen = 0
for box in boxes():
    for message in box:
        count += 1
        flags = message.get_flags()
        seen += ("S" if kind == "maildir" else "R") in flags
        if kind == "mbox":
            assert message["X-Pillarbox-Export"], message.items()
print(count, seen)
