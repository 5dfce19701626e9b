"""Commands that are Python programs, without the second of processor time that
each of them takes to read itself: one process has imported what the program
needs, and a command is a fork of it.

    run("aws", ["s3", "ls"], env, directory)   -> subprocess.CompletedProcess

A command has its own environment, directory, standard input and output, and
its status is what the program's main() returns or raises.
"""

import contextlib
import gc
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import traceback


# ---- where the tests are

class Prefork:
    """The process of a program below.  Threads take turns."""

    def __init__(self, program):
        self.program = program
        self.lock = threading.Lock()
        self.process = None

    def _start(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX,
                                         socket.SOCK_SEQPACKET)
        with theirs:
            env = {k: v for k, v in os.environ.items()
                   if not k.startswith(("AWS_", "S3_"))}

            self.process = subprocess.Popen(
                [sys.executable, __file__, self.program,
                 str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                env=env | {"LC_ALL": "C.UTF-8"})

        self.socket = ours

    def run(self, args, env, directory, stdin=None, timeout=120):
        with self.lock, contextlib.ExitStack() as stack:
            if self.process is None:
                self._start()

            files = [stdin or stack.enter_context(open(os.devnull, "rb")),
                     *(stack.enter_context(tempfile.TemporaryFile())
                       for _ in range(2))]

            command = list(map(str, args))

            # (arguments may be long, a message may not)

            what = stack.enter_context(tempfile.TemporaryFile())
            what.write(json.dumps([command, env, str(directory)]).encode())
            what.flush()

            socket.send_fds(self.socket, [b"run"],
                            [f.fileno() for f in [what, *files]])

            pid = int(self._answer(timeout))

            try:
                status = int(self._answer(timeout))
            except TimeoutError:
                os.kill(pid, 9)
                self._answer(timeout)
                raise subprocess.TimeoutExpired(command, timeout) from None

            out = []

            for f in files[1:]:
                f.seek(0)
                out.append(f.read())

            return subprocess.CompletedProcess(command, status, *out)

    def _answer(self, timeout):
        self.socket.settimeout(timeout)
        answer = self.socket.recv(64)
        assert answer, f"the process that starts {self.program} has ended"
        return answer


PREFORKS = {}


def run(program, *args, **kwargs):
    return PREFORKS.setdefault(program, Prefork(program)).run(*args, **kwargs)


# ---- where the commands begin

def aws():
    """What `python -m awscli` runs."""

    import awscli.clidriver

    # most of awscli is imported when its parts are asked for

    awscli.clidriver.create_clidriver()

    return awscli.clidriver.main


def s3cmd():
    """The script beside this Python, which is most of s3cmd itself."""

    import importlib

    path = pathlib.Path(sys.executable).parent / "s3cmd"
    code = compile(path.read_bytes(), path, "exec")

    # the modules that it begins with, then those that it is not without

    exec(code, {"__name__": "s3cmd", "__file__": str(path)})

    for name in ("CloudFront", "Crypto", "FileLists", "MultiPart",
                 "Progress", "S3"):
        importlib.import_module(f"S3.{name}")

    def main():
        exec(code, {"__name__": "__main__", "__file__": str(path)})

    return main


def serve(program, connection):
    """Returns in a child alone: what is to be run there, or None at the
    end."""

    before = dict(os.environ)
    main = {"aws": aws, "s3cmd": s3cmd}[program]()

    # awscli's modules say in a variable where their data are

    added = {k: v for k, v in os.environ.items() if before.get(k) != v}

    # else a child's collector would write to, and so copy, all of it

    gc.collect()
    gc.freeze()

    while True:
        message, fds, _, _ = socket.recv_fds(connection, 64, 4)

        if not message:
            return None

        pid = os.fork()

        if pid == 0:
            connection.close()
            begin(program, added, *fds)
            return main

        for fd in fds:
            os.close(fd)

        connection.send(b"%d" % pid)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        connection.send(b"%d" % status)


def begin(program, added, what, *files):
    args, env, directory = json.loads(os.pread(what, 1 << 24, 0))

    for number, fd in enumerate(files):
        os.dup2(fd, number)

    for fd in (what, *files):
        os.close(fd)

    os.environ.clear()
    os.environ.update(env | added)
    os.chdir(directory)

    sys.argv = [program, *args]
    # (twice: s3cmd has its own in the place of the first, whose end would
    # close what is below both)

    sys.stdin = sys.__stdin__ = open(0, closefd=False)
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = open(
        2, "w", 1, errors="backslashreplace", closefd=False)


def end(main):
    """Runs it and exits, but does not take apart what was imported."""

    status = 1

    try:
        status = main()
    except SystemExit as e:
        status = e.code
    except BaseException:
        traceback.print_exc()

    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1

    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()

    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


if __name__ == "__main__":
    main = serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))

    if main:
        end(main)
