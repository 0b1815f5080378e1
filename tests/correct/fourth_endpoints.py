"""All three designs of a fourth endpoint in FastAPI, as a student would write them, and correct."""

import contextlib
import socket
import threading

from faulty.fourth import KEY, STUB, classify


def fastapi_app(key: str):
    """All three endpoints as a student would write them with FastAPI: pydantic, lax as it is."""
    from typing import Annotated, Literal

    from fastapi import Depends, FastAPI, Header, HTTPException
    from pydantic import BaseModel, Field

    pixel = Annotated[int, Field(ge=0, le=255)]
    row = Annotated[list[pixel], Field(min_length=28, max_length=28)]
    digit = Literal[tuple("0123456789")]

    class Picture(BaseModel):
        pixels: Annotated[list[row], Field(min_length=28, max_length=28)]

    class Pictures(BaseModel):
        images: Annotated[list[Picture], Field(min_length=1, max_length=4)]

    class Answer(BaseModel):
        prediction: str
        confidence: float
        scores: dict[str, float]

    class Answers(BaseModel):
        results: list[Answer]

    class Version(BaseModel):
        version: str
        model_version: str

    class Feedback(BaseModel):
        predicted: digit
        correct: digit
        comment: str | None = None

    class Receipt(BaseModel):
        status: str

    def verify_api_key(x_api_key: Annotated[str, Header()]):
        if x_api_key != key:
            raise HTTPException(401, "Invalid API key")

    app = FastAPI()
    guard = [Depends(verify_api_key)]

    @app.get("/health")
    def health():
        return {"status": "ok", "model_version": "v1"}

    @app.get("/results")
    def results():
        return STUB

    @app.post("/classify", response_model=Answer, dependencies=guard)
    def classify_one(picture: Picture):
        return classify(picture.pixels)

    @app.post("/classify/batch", response_model=Answers, dependencies=guard)
    def classify_batch(pictures: Pictures):
        return {"results": [classify(picture.pixels) for picture in pictures.images]}

    @app.get("/version", response_model=Version)
    def version():
        return {"version": "0.5", "model_version": "v1"}

    @app.post("/feedback", response_model=Receipt, status_code=202)
    def feedback(feedback: Feedback):
        return {"status": "noted"}

    return app


@contextlib.contextmanager
def serving_fastapi(key: str = KEY):
    """Serve fastapi_app by uvicorn on a free port; yields its address."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listener:  # it queues who comes before uvicorn is up
        server = uvicorn.Server(
            uvicorn.Config(fastapi_app(key), log_level="warning", timeout_graceful_shutdown=2)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
