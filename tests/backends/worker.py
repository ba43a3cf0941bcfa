"""A worker small enough to see through, for the faults that a well-behaved one does not have.

Run as ``python worker.py DIR``. What it does wrong is in the ``options`` of instance.json:

- ``load``: "fail" (answers ``ready`` with a failure, its ``message`` if given, exits with 3) or "hang"
  (never answers it)
- ``hang_after``: seconds of readiness after which its event loop answers nothing any more
- ``exit_after``: seconds of readiness after which it exits, with ``exit_code``
- ``on_term``: "ignore", or a number of seconds that ending takes; at once when not given
- ``family``: processes that it starts: "children" (some, of which one has a child), "daemon" (one that
  leaves session, group and parent, and ignores SIGTERM), "hopper" (one that becomes another every
  millisecond)
- ``infer``: "refuse" (answers 400), "hang" (never answers) or "die" (ends itself); 200 when not given
- ``say``: lines to print
- ``impostor``: proves itself with a wrong secret
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from modelyard.runtime.frames import FramePeer, Head, Respond

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
PARENT = f"""
import subprocess, time
subprocess.Popen({SLEEP!r})
print("parent of one", flush=True)
time.sleep(600)
"""
DAEMON = """
import os, signal, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("daemon", os.getpid(), flush=True)
time.sleep(600)
"""


HOPPER = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("hopping", flush=True)
while True:
    if os.fork(): os._exit(0)
    time.sleep(0.001)
"""


def main(folder: Path) -> None:
    instance = json.loads((folder / "instance.json").read_text())
    options = instance["options"]
    for line in options.get("say", []):
        print(line, flush=True)
    print("surroundings", json.dumps(surroundings()), flush=True)
    start_family(options.get("family"))
    code = asyncio.run(serve(folder, instance, options))
    sys.stdout.flush()
    os._exit(code)


def surroundings() -> dict[str, Any]:
    return {
        "env": dict(os.environ),
        "cwd": os.getcwd(),
        "session": os.getsid(0),
        "pid": os.getpid(),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


def start_family(kind: str | None) -> None:
    if kind == "children":
        for _ in range(5):
            subprocess.Popen(SLEEP)
        start_and_hear(PARENT)
    elif kind == "daemon":
        start_and_hear(DAEMON)
    elif kind == "hopper":
        start_and_hear(HOPPER, start_new_session=False)


def start_and_hear(code: str, *, start_new_session: bool = True) -> None:
    """Returns once it has said a line."""
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, start_new_session=start_new_session
    )
    assert child.stdout is not None
    print(child.stdout.readline().decode().strip(), flush=True)


async def serve(folder: Path, instance: dict[str, Any], options: dict[str, Any]) -> int:
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    def terminate() -> None:
        print("terminating", flush=True)
        how = options.get("on_term", 0)
        if how != "ignore":
            loop.call_later(how, end, 0)

    def answer(peer: FramePeer, stream: int, head: Head, body: memoryview, respond: Respond) -> None:
        if head.op == "hello":
            secret = b"wrong" if options.get("impostor") else bytes.fromhex(instance["secret"])
            proof = hmac.new(secret, bytes.fromhex(head.params["nonce"]), hashlib.sha256).hexdigest()
            respond(Head(status=200, params={"instance": instance["instance"], "pid": os.getpid(), "proof": proof}))
        elif head.op == "ready" and options.get("load") == "fail":
            message = options.get("message", "The model is no model.")
            failure = {"code": "bad_model", "message": message, "permanent": True}
            (folder / "failure.json").write_text(json.dumps(failure))
            print("cannot load", flush=True)
            respond(Head(status=500, params=failure))
            loop.call_soon(end, 3)
        elif head.op == "ready" and options.get("load") != "hang":
            respond(Head(status=200, params={"metadata": {"platform": "test", "inputs": [], "outputs": []}}))
            if "hang_after" in options:
                loop.call_later(options["hang_after"], time.sleep, 600)
            if "exit_after" in options:
                loop.call_later(options["exit_after"], end, options.get("exit_code", 1))
        elif head.op == "health":
            respond(Head(status=200))
        elif head.op == "infer":
            print("asked", bytes(body).decode(), head.params.get("content_type"), flush=True)
            how = options.get("infer")
            if how == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            elif how == "refuse":
                respond(Head(status=400), b'{"error": "' + b"x" * 1000 + b'"}')
            elif how != "hang":
                respond(Head(status=200), b'{"outputs": []}')

    loop.add_signal_handler(signal.SIGTERM, terminate)
    listening = socket.socket(fileno=int(os.environ["MODELYARD_SOCKET_FD"]))
    server = await loop.create_unix_server(lambda: FramePeer(answer), sock=listening)
    code = await ended
    server.close()
    return int(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
