"""More real servers for single tests: a registry with a password, S3 with IAM, a private index."""

import base64
import contextlib
import functools
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def free_port() -> int:
    """A port of this machine that nobody uses right now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    """Run a server while in use; it is ended by its own process."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None:
                pytest.fail(f"{command[0]} ended with {process.returncode}")
            time.sleep(0.1)
        else:
            pytest.fail(f"{command[0]} does not listen on port {port}")
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def plain_registry(folder: Path) -> Iterator[str]:
    """One more docker-registry; yields its host and port."""
    port = free_port()
    (folder / "plain.yml").write_text(
        f"""\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder / "plain"}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
    )
    with running(["docker-registry", "serve", str(folder / "plain.yml")], port, {}):
        yield f"localhost:{port}"


@contextlib.contextmanager
def registry_with_password(folder: Path, user: str, password: str) -> Iterator[str]:
    """Debian's docker-registry with basic authentication; yields its host and port."""
    port = free_port()
    users = subprocess.run(
        ["htpasswd", "-Bbn", user, password], capture_output=True, text=True, check=True
    )
    (folder / "users").write_text(users.stdout)
    (folder / "registry.yml").write_text(
        f"""\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder / "store"}}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: tests, path: {folder / "users"}}}}}
"""
    )
    with running(["docker-registry", "serve", str(folder / "registry.yml")], port, {}):
        yield f"localhost:{port}"


@contextlib.contextmanager
def s3_that_checks_credentials() -> Iterator[str]:
    """An S3 server on which nobody has any right; yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, port, {"INITIAL_NO_AUTH_ACTION_COUNT": "0"}):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def private_index(folder: Path, user: str, password: str) -> Iterator[str]:
    """A package index that asks for a password; yields its address without it, after `//`."""
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") == expected:
                super().do_GET()
                return
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
