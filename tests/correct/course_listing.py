"""What a student has who followed the course's text to the letter: FastAPI, pydantic, slowapi, and no more.

It must get every required point of m1 to m3. (Written anew; it behaves as the listings of block 5.)
"""

import os

import numpy as np
import serve
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel
from slowapi import Limiter
from slowapi.middleware import SlowAPIMiddleware
from slowapi.util import get_remote_address

from models.classifier import classify_batch

os.environ["SECRET_API_KEY"] = os.environ["KEY"]
COUNT, SECONDS = (int(float(part)) for part in os.environ["LIMIT"].split("/"))


class Drawing(BaseModel):
    pixels: list[list[int]]


class Prediction(BaseModel):
    prediction: str
    confidence: float
    scores: dict[str, float]


def check_key(x_api_key: str = Header(...)):
    if x_api_key != os.getenv("SECRET_API_KEY"):
        raise HTTPException(status_code=401, detail="Wrong API key")


app = FastAPI()
app.state.limiter = limiter = Limiter(key_func=get_remote_address)
app.add_middleware(SlowAPIMiddleware)


@app.get("/health")
def health():
    return {"status": "ok", "model_version": "v1"}


@app.get("/results")
def results():
    return {"results": [], "note": "persistence not yet implemented"}


@app.post("/classify", response_model=Prediction, dependencies=[Depends(check_key)])
@limiter.limit(f"{COUNT} per {SECONDS} second")
def classify(request: Request, drawing: Drawing):
    picture = np.array(drawing.pixels, dtype=np.uint8)[np.newaxis]
    return classify_batch(picture)[0]


if __name__ == "__main__":
    serve.forever(app)
