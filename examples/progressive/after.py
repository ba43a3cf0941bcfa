"""The same service, five lines later: it answers at once, loads its model meanwhile, and says when it is ready.

LOAD_SECONDS=30 uvicorn after:app
"""

from fastapi import FastAPI
from slow_models import load

from modelyard.runtime import ModelManager

manager = ModelManager()
manager.register("translator", load, critical=True)
app = FastAPI(lifespan=manager.lifespan)


@app.get("/about")
async def about() -> str:
    return "Translates into Pig Latin."


@app.get("/translate")
def translate(text: str) -> str:
    with manager.use("translator") as translator:
        return translator.translate(text)


app.mount("/models", manager.app)  # if wanted: /models/health/ready, /models/status
