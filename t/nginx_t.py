"""nginx -t, for tests of what it says.

    ok, text = Checked(tmp_path, keys).check(body)    body: what is in http{}
    f"nginx.conf:{line_of(body, 's3_serve')}" in text
"""

import os
import subprocess

import s3_server


class Checked:
    """A directory with a nginx.conf, and keys.jsonl beside it."""

    def __init__(self, path, keys):
        self.path = path
        (path / "logs").mkdir()
        (path / "keys.jsonl").write_text(keys)
        (path / "keys.jsonl").chmod(0o600)

    def check(self, body, **env):
        """(whether it is taken, what is said).  Of S3_... nginx has what env
        has."""

        conf = self.path / "nginx.conf"
        conf.write_text(
            f'load_module "{s3_server.module_path()}";\n'
            "pid nginx.pid; error_log stderr;\n"
            "events {}\n"
            "http {\n"
            "access_log off;\n"
            f"{body}\n"
            "}\n")

        env = {**{k: v for k, v in os.environ.items()
                  if not k.startswith("S3_")}, **env}

        run = subprocess.run(
            [s3_server.nginx_binary(), "-p", self.path, "-c", conf, "-t"],
            capture_output=True, text=True, timeout=30, env=env)

        assert run.returncode in (0, 1), run.stderr

        return run.returncode == 0, run.stderr


def line_of(body, what):
    """The line in nginx.conf of the last line of body that holds what."""

    lines = body.split("\n")
    return 6 + max(i for i, line in enumerate(lines) if what in line)
