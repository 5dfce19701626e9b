"""docs/compatibility.md, written from what a run of the tests has shown."""

import json
import pathlib
import re

from clients import CLIENTS, FEATURES, ROWS


HEAD = """\
# Clients

What the tests of t/s3 show with each client, its defaults kept wherever it
works with a server that is not AWS's. Made by `tools/compatibility` from a
run of them; do not edit.

**ok**: its tests pass. **501**: the client asks, the server answers 501
NotImplemented, and the client says so. **-**: not by this client, or there is
no test. Versions are those of t/requirements.txt, t/clients and Debian.

"""


def order(item):
    return ROWS.index(item[0])


def cells(text):
    """{feature: {client's label: cell}} of a table that write() has made."""

    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines() if line.startswith("|")]
    columns = [re.sub(r" [0-9.]+$", "", name) for name in rows[0][1:]]

    return {row[0]: dict(zip(columns, row[1:])) for row in rows[2:]}


def expected():
    """The same of the tests that there are, where all of them pass."""

    return {row: {c.label: shows.get(c.name, "-") for c in CLIENTS}
            for row, shows in sorted(FEATURES.items(), key=order)}


def whole(shown):
    missing = [(row, name) for row, shows in FEATURES.items()
               for name in shows if (row, name) not in shown]
    assert not missing, f"the run was not whole: {missing[:10]}"


def table(cell, what=""):
    """In Markdown; cell(row, client's name) of each."""

    head = [what, *(f"{c.label} {c.version()}" for c in CLIENTS)]
    rows = [[row, *(cell(row, c.name) if c.name in shows else "-"
                    for c in CLIENTS)]
            for row, shows in sorted(FEATURES.items(), key=order)]

    return "".join("| " + " | ".join(row) + " |\n"
                   for row in [head, ["---"] * len(head), *rows])


def save(path, shown):
    whole(shown)
    pathlib.Path(path).write_text(json.dumps(
        [[*cell, outcome] for cell, outcome in shown.items()]))


def write(path, shown):
    """shown: {(feature, client's name): "passed", "failed" or "skipped"}."""

    whole(shown)

    def cell(row, name):
        return {"passed": FEATURES[row][name], "failed": "**fails**",
                "skipped": "skipped"}[shown[row, name]]

    pathlib.Path(path).write_text(HEAD + table(cell))
