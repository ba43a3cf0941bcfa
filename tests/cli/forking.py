"""Commands at the cost of a fork: a process that has loaded the command line forks for each of them.

Each is a process of its own all the same, with its own environment, folder, files, signals and end. What it costs to
start is most of what a short command costs; that it starts is proven by those that are begun in earnest (``COMMAND``).
"""

from __future__ import annotations

import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from importlib import import_module
from typing import Any

# What most commands load when they are called.
_LOADED = (
    "modelyard.cli.launching", "modelyard.client.sync", "modelyard.client.waiting", "modelyard.registry.importing",
    "modelyard.settings", "rich.console", "rich.progress", "rich.table", "httpx2",
)  # fmt: skip
_REQUEST = 64


def run(arguments: list[str], env: dict[str, str], stdin: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """One command, to its end, as ``subprocess.run`` would have run it.

    Raises:
        subprocess.TimeoutExpired: it has been killed.
    """
    # In files, so that nobody has to read while it runs.
    with (
        _file(json.dumps({"arguments": arguments, "env": env, "cwd": os.getcwd()})) as asked,
        _file(stdin) as given, _file("") as output, _file("") as errors,
    ):  # fmt: skip
        ours, theirs = os.pipe()
        with os.fdopen(ours) as reply:
            try:
                files = [asked.fileno(), given.fileno(), output.fileno(), errors.fileno(), theirs]
                socket.send_fds(_stem(), [b"."], files)
            finally:
                os.close(theirs)
            pid = int(reply.readline())
            if not select.select([reply], [], [], timeout)[0]:
                os.kill(pid, signal.SIGKILL)
                reply.readline()
                raise subprocess.TimeoutExpired(arguments, timeout)
            status = int(reply.readline())
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, status, output.read(), errors.read())


def _file(text: str) -> Any:
    file = os.fdopen(os.memfd_create("forking"), "w+")
    file.write(text)
    file.seek(0)
    return file


@functools.cache
def _stem() -> socket.socket:
    """The way to the process that forks; it ends when the other end of this closes, with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen([sys.executable, "-P", __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    # It ends after us.
    process.returncode = 0
    return ours


def _load() -> Any:
    """The command line's main function, and what most commands load loaded."""
    gc.disable()
    main = import_module("modelyard.cli.main")
    for name in (*_LOADED, *(f"modelyard.cli.{part}" for part in main.PARTS)):
        import_module(name)
    gc.freeze()
    gc.enable()
    return main.main


def _wait_for_one(control: socket.socket) -> None:
    """Return in the process of the next command, with all it was given in its place."""
    # Nobody waits for those that wait for a command; and a Ctrl-C is for the tests.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        message, files, _, _ = socket.recv_fds(control, _REQUEST, 5)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            break
        for file in files:
            os.close(file)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    control.close()
    asked, given, output, errors, reply = files
    pid = os.fork()
    if pid:
        os.write(reply, b"%d\n" % pid)
        os.write(reply, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)
    with os.fdopen(asked) as question:
        request = json.load(question)
    for number, place in enumerate((given, output, errors)):
        os.dup2(place, number)
        os.close(place)
    os.close(reply)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv[1:] = request["arguments"]


if __name__ == "__main__":
    begin = _load()
    sys.argv[0] = str(import_module("modelyard.cli.main").__file__)
    _wait_for_one(socket.socket(fileno=int(sys.argv[1])))
    begin()
