"""The AWS SDK for Go v2, with its manager."""

import re

from clients.base import ROOT, Driver
from s3_server import BUILD


class Go(Driver):
    name = "go"
    label = "Go SDK v2"
    kinds = ("http", "tls", "h2")

    @classmethod
    def version(cls):
        text = (ROOT / "t/clients/go/go.mod").read_text()
        return re.search(r"/service/s3 v(\S+)", text)[1]

    def command(self):
        return [str(BUILD / "clients/go/driver")]
