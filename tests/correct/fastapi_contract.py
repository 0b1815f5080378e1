"""The course's stack with what the contract adds to it: FastAPI, pydantic and slowapi's storage (limits)."""

import hmac
import math
import os
import time
import uuid

import numpy as np
import serve
from contract import COUNT, KEY, SECONDS, budget, parsed, what_is_wrong_with
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from models.classifier import classify_batch

DEBUG = os.environ.get("DEBUG") == "1"
LIMIT, limiter = parse(f"{COUNT} per {SECONDS} second"), FixedWindowRateLimiter(MemoryStorage())


class ClassifyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    pixels: list[list[int]] = Field(min_length=28, max_length=28)


class ClassifyResponse(BaseModel):
    prediction: str
    confidence: float
    scores: dict[str, float]


class Problem(BaseModel):
    detail: str | list[dict]


pages = {"docs_url": "/docs", "redoc_url": "/redoc", "openapi_url": "/openapi.json"}
app = FastAPI(redirect_slashes=False, **(pages if DEBUG else dict.fromkeys(pages)))


def within_budget(request: Request) -> None:
    admitted = limiter.hit(LIMIT, request.client.host)
    end, left = limiter.get_window_stats(LIMIT, request.client.host)
    seconds = min(SECONDS, max(1, math.ceil(end - time.time())))
    request.state.budget = budget(left, seconds)
    if not admitted:
        raise HTTPException(429, "too many requests", {"Retry-After": str(seconds)})


def strict(document) -> np.ndarray:
    """pydantic takes "5", true and any row length; the contract does not."""
    rows = ClassifyRequest.model_validate(document).pixels
    if wrong := what_is_wrong_with(document["pixels"]):
        raise refusal(*wrong)
    return np.array(rows, dtype=np.uint8)[np.newaxis]


def refusal(loc, message):
    return HTTPException(422, [{"type": "type", "loc": ["body", *loc], "msg": message}])


documented = {status: {"model": Problem} for status in (401, 413, 415, 422, 429, 500)}
body = {"requestBody": {"content": {"application/json": {"schema": ClassifyRequest.model_json_schema()}}}}


@app.get("/health")
def health():
    return {"status": "ok", "model_version": "v1"}


@app.get("/results")
def results():
    return {"results": [], "note": "persistence not yet implemented"}


for route in app.routes[-2:]:
    route.methods.add("HEAD")  # Starlette's own routes have it; FastAPI leaves it out


@app.post(
    "/classify",
    response_model=ClassifyResponse,
    responses=documented,
    openapi_extra=body | {"security": [{"key": []}]},
)
async def classify(request: Request):
    within_budget(request)
    if not hmac.compare_digest(request.headers.get("X-API-Key", "").encode(), KEY.encode()):
        raise HTTPException(401, "send the API key in X-API-Key", {"WWW-Authenticate": "ApiKey"})
    if int(request.headers.get("Content-Length", 0)) > 64 * 1024:
        raise HTTPException(413, "over 64 KiB")
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send application/json")
    try:
        document = parsed(await request.body())
    except (ValueError, RecursionError):
        raise refusal([], "not JSON") from None
    try:
        return classify_batch(strict(document))[0]
    except ValidationError as problem:
        first = problem.errors()[0]
        raise refusal(first["loc"], first["msg"]) from None


@app.middleware("http")
async def finish(request: Request, call_next):
    response: Response = await call_next(request)
    response.headers.update({"X-Request-ID": uuid.uuid4().hex, "X-Content-Type-Options": "nosniff"})
    response.headers.update(getattr(request.state, "budget", {}))
    return response


@app.exception_handler(StarletteHTTPException)
async def error(request: Request, problem):
    return JSONResponse({"detail": problem.detail}, problem.status_code, problem.headers)


@app.exception_handler(RequestValidationError)
async def invalid(request: Request, problem):
    return JSONResponse({"detail": problem.errors()[:1]}, 422)


def openapi() -> dict:
    if not app.openapi_schema:
        document = FastAPI.openapi(app)
        key = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
        document["components"]["securitySchemes"] = {"key": key}
    return app.openapi_schema


app.openapi = openapi

if __name__ == "__main__":
    serve.forever(app)
