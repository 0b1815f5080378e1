"""Servers that try to cheat the checks, to hang them, or to write into their reports.

python tests/hostile_server.py NAME      prints its port, then serves; NAME is a key of ATTACKS
"""

import json
import os
import socket
import sys
import threading
import time

INJECTION = (
    "\x1b[2J\x1b]0;owned\x07<script>alert(1)</script><img src=x onerror=alert(2)> ]]> & \x00 "
    "[red]*bold*[/red] "
    "`code` | table | [link](javascript:alert(3)) \u202e"
)


def head(status: str, **headers) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def whole(status: str, document, **headers) -> bytes:
    body = json.dumps(document).encode()
    return head(status, Content_Type="application/json", Content_Length=len(body), **headers) + body


OK = whole("200 OK", {"status": "ok", "model_version": "v1"})


def by_user_agent(request: bytes, connection) -> None:
    """Perfect for whoever looks like a grader, and nonsense for all others."""
    agent = request.lower().partition(b"user-agent:")[2].partition(b"\r\n")[0]
    suspicious = (b"pixelwise", b"pytest", b"check", b"grade", b"python")
    connection.sendall(
        OK if any(word in agent for word in suspicious) else whole("404 Not Found", {"detail": "no"})
    )


def ten_gigabytes(request: bytes, connection) -> None:
    connection.sendall(head("200 OK", Content_Type="application/json", Content_Length=10 * 2**30))
    for _ in range(10 * 2**10):
        connection.sendall(b" " * 2**20)


def endless_redirects(request: bytes, connection) -> None:
    connection.sendall(whole("302 Found", {}, Location="/health"))


def infinite_chunks(request: bytes, connection) -> None:
    connection.sendall(head("200 OK", Content_Type="application/json", Transfer_Encoding="chunked"))
    while True:
        connection.sendall(b"1\r\n \r\n" * 1000)


def infinite_headers(request: bytes, connection) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-More: and more\r\n" * 1000)


def one_byte_a_second(request: bytes, connection) -> None:
    for byte in OK * 100:
        connection.sendall(bytes([byte]))
        time.sleep(1)


def silence(request: bytes, connection) -> None:
    time.sleep(3600)


def not_http(request: bytes, connection) -> None:
    connection.sendall(b"220 mail.example ESMTP\r\n" * 100)


def injection(request: bytes, connection) -> None:
    """Half alive, so that the checks go on and repeat what it says."""
    line = request.partition(b"\r\n")[0]
    if line.startswith((b"GET /health ", b"GET /results ")):
        connection.sendall(OK)
    else:
        text = INJECTION.replace("\x00", "").replace("\n", " ")
        connection.sendall(whole("418 <b>teapot</b>", {"detail": INJECTION}, X_Evil=text))


def nested_json(request: bytes, connection) -> None:
    body = b"[" * 200_000 + b"]" * 200_000
    connection.sendall(head("200 OK", Content_Type="application/json", Content_Length=len(body)) + body)


ATTACKS = {
    attack.__name__: attack
    for attack in (
        by_user_agent,
        ten_gigabytes,
        endless_redirects,
        infinite_chunks,
        infinite_headers,
        one_byte_a_second,
        silence,
        not_http,
        injection,
        nested_json,
    )
}


def serve(attack, listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handle, args=(attack, connection), daemon=True).start()


def handle(attack, connection: socket.socket) -> None:
    try:
        request = b""
        while b"\r\n\r\n" not in request:
            more = connection.recv(65536)
            if not more:
                return
            request += more
        attack(request, connection)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    finally:
        connection.close()


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Timer(600, os._exit, (0,)).start()  # whatever happens to the test
        serve(ATTACKS[sys.argv[1]], listener)
