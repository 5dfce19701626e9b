"""Each client and check, Ceph asked directly and through gateways: a table in
docs/gateway.md, between its two markers.

    build/venv/bin/python t/clients/side_by_side.py [FILE]

starts a Ceph and runs the tests of clients twice against it.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

sys.path[:0] = [str(ROOT / "t"), str(ROOT / "t/s3")]

from ceph import Ceph                                       # noqa: E402
from clients import FEATURES                                # noqa: E402
from clients.compatibility import table                     # noqa: E402

BEGIN = "<!-- made by tools/side-by-side -->\n"
END = "<!-- end -->\n"


def run(path, **env):
    """What the tests of clients show, {(feature, client): outcome}."""

    file = pathlib.Path(path) / "shown.json"

    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "feature",
         "--timeout=300", "--tb=line", "-p", "no:cacheprovider",
         *sorted((ROOT / "t/s3").glob("test_client_*.py"))],
        cwd=ROOT, env=os.environ | env | {"S3_COMPATIBILITY": str(file)})

    return {(row, name): outcome
            for row, name, outcome in json.loads(file.read_text())}


def main(path):
    with Ceph() as ceph, tempfile.TemporaryDirectory() as d:
        keys = {"S3_ACCESS_KEY": ceph.access_key,
                "S3_SECRET_KEY": ceph.secret_key}
        directly = run(d, S3_ENDPOINT=ceph.url, **keys)
        through = run(d, S3_THROUGH="rgw", S3_UPSTREAM=ceph.url,
                      **{f"S3_UPSTREAM_{k[3:]}": v for k, v in keys.items()})
        version = ceph.version()

    def shows(row, name, shown):
        return {"passed": FEATURES[row][name], "failed": "**fails**",
                "skipped": "skipped"}[shown]

    def cell(row, name):
        pair = [shows(row, name, side[row, name])
                for side in (directly, through)]
        return pair[0] if pair[0] == pair[1] else " / ".join(pair)

    before, _, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"{path} lacks the markers"

    count = {side: sum(v == "passed" for v in shown.values())
             for side, shown in (("directly", directly),
                                 ("through", through))}

    path.write_text(
        before + BEGIN
        + f"\n{version}: of {len(through)} checks {count['directly']} pass "
          f"directly, {count['through']} through the gateway. One word: both; "
          "two: directly / through the gateway.\n\n"
        + table(cell) + "\n" + END + after)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if sys.argv[1:]
                      else ROOT / "docs/gateway.md").resolve())
