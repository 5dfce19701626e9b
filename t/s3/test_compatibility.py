"""docs/compatibility.md has a cell for each test of a client, and no other."""

import importlib
import pathlib

import s3_server
from clients import CLIENTS, compatibility


def test_table():
    for path in sorted(pathlib.Path(__file__).parent.glob("test_client_*.py")):
        importlib.import_module(path.stem)

    text = (s3_server.ROOT / "docs/compatibility.md").read_text()

    assert compatibility.cells(text) == compatibility.expected(), \
        "tools/compatibility makes it anew"

    for client in CLIENTS:
        if client.name != "rclone":      # as new as the distribution's
            assert f"| {client.label} {client.version()} |" in text
