"""A sanitizer's report reaches the log, and fails the test it comes in."""

import os
import signal
import subprocess

import pytest

import s3_server


def test_reports_are_seen():
    built = subprocess.run([s3_server.nginx_path(), "-V"], check=True,
                           capture_output=True, text=True).stderr

    if "-fsanitize=address" not in built:
        pytest.skip("this nginx is built without sanitizers")

    with s3_server.Store() as store:

        # which nginx leaves to its default action, and ASan does not

        os.kill(store.worker_pids()[0], signal.SIGSEGV)

        s3_server.wait_for(lambda: "AddressSanitizer" in store.log(), 20)

        with pytest.raises(AssertionError, match="AddressSanitizer"):
            store.stop()
