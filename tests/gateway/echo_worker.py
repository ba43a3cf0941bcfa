"""A worker that speaks frames and nothing else: echoes inference bodies, as its own process.

``python echo_worker.py SOCKET NAME``. The body of an infer request may be JSON with ``parameters``:
``{"sleep": seconds}``, ``{"status": 400}``, ``{"bytes": n}`` (answer with so many) or ``{"die": true}``. What comes
over gRPC is answered with its tensors; its parameters are looked at as well.
"""

import asyncio
import os
import signal
import sys

import orjson
import uvloop

from modelyard.runtime.frames import FramePeer, Head

_METADATA = {
    "platform": "echo_v1",
    "versions": ["1"],
    "inputs": [{"name": "input-0", "datatype": "FP32", "shape": [-1, 64]}],
    "outputs": [{"name": "output-0", "datatype": "INT64", "shape": [-1]}],
}


class Worker:
    def __init__(self, name: str) -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.timers: dict[tuple[int, int], asyncio.TimerHandle] = {}
        self.cancelled = 0
        self.draining = False

    def handle(self, peer, stream, head, body, respond) -> None:
        if head.op == "metadata":
            respond(Head("", 200, {"metadata": _METADATA}), b"")
        elif head.op == "count":
            respond(Head("", 200, {"cancelled": self.cancelled, "waiting": len(self.timers)}), b"")
        elif self.draining:
            head = Head("", 503, {"content_type": "application/problem+json", "draining": True})
            respond(head, b'{"code":"draining"}')
        elif str(head.params.get("path", "")).endswith("/ModelInfer"):
            self.infer_tensors(peer, stream, head, body, respond)
        elif "header_length" in head.params:
            respond(Head("", 200, dict(head.params)), body)
        else:
            self.infer(peer, stream, head, body, respond)

    def infer(self, peer, stream, head, body, respond) -> None:
        asked = orjson.loads(body).get("parameters", {}) if b'"parameters"' in bytes(body[:4096]) else {}
        if asked.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if "pieces" in asked:
            self.piece((id(peer), stream), respond, asked, 0)
            return
        answer = body
        if "bytes" in asked:
            answer = b"x" * asked["bytes"]
        elif asked:
            answer = orjson.dumps({"worker": self.name, "params": head.params, "size": len(body)})
        status = Head("", asked.get("status", 200), {"content_type": "application/json"})
        self.answer_later(asked, peer, stream, respond, status, answer)

    def infer_tensors(self, peer, stream, head, body, respond) -> None:
        length = head.params["header_length"]
        request = orjson.loads(body[:length])
        asked = request["parameters"]
        if asked.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if asked.get("status", 200) != 200:
            problem = orjson.dumps({"code": "asked_for", "detail": "inputs[0]: as you wished"})
            respond(Head("", asked["status"], {"content_type": "application/problem+json"}), problem)
            return
        answer = {
            "model_name": self.name, "model_version": head.params.get("version", ""), "outputs": request["inputs"],
            "id": orjson.dumps([asked, request.get("id"), head.params]).decode() if asked.get("tell") else "",
        }  # fmt: skip
        text = orjson.dumps(answer)
        status = Head("", 200, {"content_type": "application/octet-stream", "header_length": len(text)})
        self.answer_later(asked, peer, stream, respond, status, text + bytes(body[length:]))

    def answer_later(self, asked, peer, stream, respond, head, body) -> None:
        if asked.get("sleep"):
            key = (id(peer), stream)
            self.timers[key] = self.loop.call_later(asked["sleep"], self.answer, key, respond, head, body)
        else:
            respond(head, body)

    def answer(self, key, respond, head, body) -> None:
        del self.timers[key]
        respond(head, body)

    def piece(self, key, respond, asked, number) -> None:
        events = Head("", 200, {"content_type": "text/event-stream"})
        self.timers.pop(key, None)
        if number == asked["pieces"]:
            respond(events, b"")
            return
        if number == asked.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        respond.part(events, b"data: %d %b\n\n" % (number, b"x" * asked.get("size", 0)))
        self.timers[key] = self.loop.call_later(asked.get("pause", 0), self.piece, key, respond, asked, number + 1)

    def cancel(self, peer, stream) -> None:
        timer = self.timers.pop((id(peer), stream), None)
        if timer is not None:
            timer.cancel()
            self.cancelled += 1


async def main(path: str, name: str) -> None:
    worker = Worker(name)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, setattr, worker, "draining", True)
    await loop.create_unix_server(lambda: FramePeer(worker.handle, on_cancel=worker.cancel), path)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))
