"""Serves an ASGI application on a free port of 127.0.0.1, and prints the port when it listens."""

import socket

import uvicorn


def forever(app) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listener])
