"""Each client and check, Ceph asked directly and through gateways: a table in
docs/gateway.md, between its two markers.

    build/venv/bin/python t/clients/side_by_side.py [FILE]

runs the tests of clients twice at the same time, each before a Ceph of its own.
"""

import concurrent.futures
import importlib
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


TESTS = sorted((ROOT / "t/s3").glob("test_client_*.py"))


def run(through):
    """What the tests of clients show, {(feature, client): outcome}, and of
    which Ceph."""

    with Ceph() as ceph, tempfile.TemporaryDirectory() as d:
        file = pathlib.Path(d) / "shown.json"

        env = {"ACCESS_KEY": ceph.access_key, "SECRET_KEY": ceph.secret_key}

        if through:
            env = {f"S3_UPSTREAM_{k}": v for k, v in env.items()}
            env |= {"S3_THROUGH": "rgw", "S3_UPSTREAM": ceph.url}
        else:
            env = {f"S3_{k}": v for k, v in env.items()}
            env |= {"S3_ENDPOINT": ceph.url}

        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "feature",
             "--timeout=300", "--tb=line", "-p", "no:cacheprovider", *TESTS],
            cwd=ROOT, env=os.environ | env | {"S3_COMPATIBILITY": str(file)})

        return {(row, name): outcome for row, name, outcome
                in json.loads(file.read_text())}, ceph.version()


def main(path):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        (directly, version), (through, _) = pool.map(run, (False, True))

    # they say what features there are

    for test in TESTS:
        importlib.import_module(test.stem)

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
