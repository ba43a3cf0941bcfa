"""A service that loads its model when it is imported: nothing answers until it is there, not even /about.

LOAD_SECONDS=30 uvicorn before:app
"""

from fastapi import FastAPI
from slow_models import load

translator = load()
app = FastAPI()


@app.get("/about")
async def about() -> str:
    return "Translates into Pig Latin."


@app.get("/translate")
def translate(text: str) -> str:
    return translator.translate(text)
