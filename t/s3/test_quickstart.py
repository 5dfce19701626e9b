"""docs/quickstart.md: each of its programs runs as it stands."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import s3_server


PAGE = (s3_server.ROOT / "docs/quickstart.md").read_text()

PROGRAMS = {title: (language, text) for title, language, text in re.findall(
    r"^## (.+?)\n(?:(?!^## ).)*?^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)}


def test_every_section_has_one():
    assert sorted(PROGRAMS) == sorted(re.findall(r"^## (.+)$", PAGE, re.M))


def is_minio_client():
    """There is another mc, a file manager."""

    path = shutil.which("mc")
    return path and b"MinIO" in subprocess.run(
        [path, "--version"], capture_output=True, timeout=60).stdout


@pytest.mark.parametrize("title", PROGRAMS)
def test_program(store, s3, tmp_path, title):
    from clients.sdk_js import NODE

    if title == "mc" and not is_minio_client():
        pytest.skip("needs MinIO's mc: go install github.com/minio/mc@latest")

    language, text = PROGRAMS[title]
    modules = s3_server.BUILD / "clients/js/node_modules"

    name, command = {
        "sh": ("program.sh", ["bash", "-euo", "pipefail"]),
        "python": ("program.py", [sys.executable]),
        "js": ("program.mjs", [str(NODE)])}[language]

    (tmp_path / name).write_text(text)
    (tmp_path / "node_modules").symlink_to(modules.resolve())

    if store.kinds[0] != "http":
        pytest.skip("the page is about http")

    done = subprocess.run(
        [*command, name], cwd=tmp_path, capture_output=True, timeout=120,
        env={"HOME": str(tmp_path), "LC_ALL": "C.UTF-8",
             "PATH": f"{pathlib.Path(sys.executable).parent}:"
                     + os.environ["PATH"],
             "ENDPOINT": store.url("http"), "AWS_REGION": store.region,
             "AWS_ACCESS_KEY_ID": s3_server.ACCESS_KEY,
             "AWS_SECRET_ACCESS_KEY": s3_server.SECRET_KEY})

    assert done.returncode == 0, (done.stdout + done.stderr).decode()

    # it has been there, and it has cleaned up

    bucket = re.search(r"quick-\w+", text)[0]
    assert bucket not in [b["Name"] for b in s3.list_buckets()["Buckets"]]

    if not s3_server.EXTERNAL:
        assert any(f"/{bucket}/" in line for line in store.access_lines())
