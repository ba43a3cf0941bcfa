"""FastAPI by hand, for speed: the body read by orjson, no models of pydantic, uvicorn with uvloop and httptools."""

from __future__ import annotations

import sys

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

from bench.peers.serving.apps import digits

app = FastAPI()
session = digits.load()


@app.post("/v2/models/digits/infer")
async def infer(request: Request) -> Response:
    answer = digits.answer(session, orjson.loads(await request.body()))
    return Response(orjson.dumps(answer), media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(
        "bench.peers.serving.apps.fastapi_app:app", host="127.0.0.1", port=int(sys.argv[1]), workers=int(sys.argv[2]),
        log_level="warning", access_log=False,
    )  # fmt: skip
