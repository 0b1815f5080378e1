"""The peer: the service as the course builds it, on FastAPI, uvicorn, pydantic and slowapi.

compare.py runs it as `uvicorn peer:app`: one worker, with uvloop and httptools, access log on. The tests
grade it: tests/correct/course_listing.py.

- SlowAPIMiddleware is there because the course adds it. A decorated route does not need it (slowapi's manual
  has the decorator and the exception handler alone), so `compare.py --lean-peer` leaves it out.
- The handler is a plain `def`, as in the course: FastAPI runs it in a thread. An `async def` takes less CPU,
  but then the model blocks the event loop, and the slowest answers at 16 connections get much slower.

Its settings come from the environment: SECRET_API_KEY, MODEL_PATH, RATE_LIMIT and LEAN.
"""

import os
import secrets
from pathlib import Path
from typing import Annotated

import joblib
import numpy as np
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.middleware import SlowAPIMiddleware
from slowapi.util import get_remote_address

ROOT = Path(__file__).resolve().parent.parent
KEY = os.environ["SECRET_API_KEY"].encode()
pipeline = joblib.load(ROOT / os.environ.get("MODEL_PATH", "models/digit_classifier_v1.pkl"))
classes = [str(name) for name in pipeline.classes_]


class Picture(BaseModel):
    pixels: list[list[int]]


class Answer(BaseModel):
    prediction: str
    confidence: float
    scores: dict[str, float]


def check_key(x_api_key: Annotated[str, Header()]) -> None:
    """The dependency of /classify: 401 for a wrong key; FastAPI itself says 422 to a missing one."""
    if not secrets.compare_digest(x_api_key.encode(), KEY):
        raise HTTPException(401, "wrong API key")


def classify_batch(images: np.ndarray) -> list[dict]:
    """uint8 (N, 28, 28) in, N answers out, all of it by scikit-learn."""
    ink = (images.reshape(len(images), -1) > 128).astype(np.float64)
    answers = []
    for row in pipeline.predict_proba(ink):
        best = int(row.argmax())
        scores = dict(zip(classes, row.tolist()))
        answers.append({"prediction": classes[best], "confidence": float(row[best]), "scores": scores})
    return answers


app = FastAPI(title="PixelWise, the peer")
app.state.limiter = limiter = Limiter(key_func=get_remote_address)
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)
if not os.environ.get("LEAN"):
    app.add_middleware(SlowAPIMiddleware)


@app.get("/health")
def health():
    return {"status": "ok", "model_version": "v1"}


@app.get("/results")
def results():
    return {"results": [], "note": "persistence not yet implemented"}


@app.post("/classify", response_model=Answer, dependencies=[Depends(check_key)])
@limiter.limit(os.environ.get("RATE_LIMIT", "30/minute"))
def classify(request: Request, picture: Picture):
    pixels = np.array(picture.pixels, dtype=np.uint8)[np.newaxis]
    return classify_batch(pixels)[0]
