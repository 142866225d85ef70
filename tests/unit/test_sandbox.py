import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sandbox import SandboxError
from tests.sandbox.environment import pip_config, sandbox, without_proxy
from tests.sandbox.processes import Process, identify, parse_stat
from tests.sandbox.services import choose_port
from tests.sandbox.state import State, Store

STATE = State(registry_port=5001, s3_port=9000, base_image="python:3.11-slim")


def stat(state: str) -> str:
    return f"42 (a (strange) name) {state} " + " ".join(str(n) for n in range(4, 53))


def test_a_process_is_known_by_its_start() -> None:
    mine = identify(os.getpid())
    assert mine is not None
    assert mine.running
    assert not replace(mine, started="at another time").running


def test_the_start_is_read_behind_a_strange_name() -> None:
    assert parse_stat(42, stat("S"), "boot") == Process(pid=42, started="boot/22")


def test_a_zombie_is_no_process() -> None:
    assert parse_stat(42, stat("Z"), "boot") is None


def test_the_next_free_port_is_chosen() -> None:
    assert choose_port(5000, lambda port: port >= 5002) == 5002


def test_no_port_is_free() -> None:
    with pytest.raises(SandboxError, match="No port from 5000 to 5099 is free"):
        choose_port(5000, lambda _port: False)


def test_the_state_survives_the_disk(tmp_path: Path) -> None:
    store = Store(tmp_path)
    state = STATE.with_process("s3", Process(pid=1, started="boot/2"))
    store.save(state)
    assert store.load() == state


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        pytest.param("", "localhost,127.0.0.1", id="none"),
        pytest.param("intern, localhost", "intern,localhost,127.0.0.1", id="some"),
        pytest.param("localhost,127.0.0.1", "localhost,127.0.0.1", id="all"),
    ],
)
def test_loopback_goes_past_the_proxy(hosts: str, expected: str) -> None:
    assert without_proxy(hosts) == expected


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        pytest.param("global.cert='/ca.pem'\n", None, id="no index"),
        pytest.param("global.extra-index-url='file:///a /b'\n", None, id="folders only"),
        pytest.param(
            "global.index-url='https://a/simple'\nglobal.extra-index-url='file:///x https://b'\n",
            "[global]\nindex-url = https://a/simple\nextra-index-url = https://b\n",
            id="without folders",
        ),
        pytest.param(
            ":env:.index-url='https://env'\nglobal.index-url='https://file'\n",
            "[global]\nindex-url = https://env\n",
            id="environment first",
        ),
    ],
)
def test_package_indexes_are_handed_on(listed: str, expected: str | None) -> None:
    assert pip_config(listed) == expected


def test_docker_host_is_exported_only_if_needed(tmp_path: Path) -> None:
    ours = replace(STATE, docker_host="unix:///s")
    assert "DOCKER_HOST" not in sandbox(Store(tmp_path), STATE, {}).environment
    assert "export DOCKER_HOST=unix:///s\n" in sandbox(Store(tmp_path), ours, {}).exports()


def test_pip_s_certificates_come_before_openssl_s(tmp_path: Path) -> None:
    environ = {"SSL_CERT_FILE": "/openssl.pem", "PIP_CERT": "/pip.pem"}
    environment = sandbox(Store(tmp_path), STATE, environ).environment
    assert environment["AICORE_BUILD_CA_BUNDLE"] == "/pip.pem"
