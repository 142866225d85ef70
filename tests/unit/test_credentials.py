import base64
import json
from pathlib import Path
from typing import Any

import pytest

from aicore_build.credentials import Credentials, read_credentials
from aicore_build.errors import RegistryError

HOST = "registry.example.com:5000"
ADA = Credentials(username="ada", password="pass:word")
HUB_KEY = "https://index.docker.io/v1/"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def write(folder: Path, config: object) -> None:
    (folder / "config.json").write_text(json.dumps(config))


def auth(username: str = "ada", password: str = "pass:word") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(HOST, id="host"),
        pytest.param(f"https://{HOST}", id="https"),
        pytest.param(f"http://{HOST}", id="http"),
        pytest.param(f"https://{HOST}/", id="slash"),
        pytest.param(f"https://{HOST}/v2/", id="path"),
    ],
)
def test_the_spellings_of_a_host(folder: Path, key: str) -> None:
    others = {name: auth("bob") for name in ("registry.example.com", f"my-{HOST}", f"{HOST}1")}
    write(folder, {"auths": {**others, key: auth()}})
    assert read_credentials(HOST) == ADA


def test_the_exact_spelling_goes_first(folder: Path) -> None:
    write(folder, {"auths": {f"https://{HOST}": auth("bob"), HOST: auth()}})
    assert read_credentials(HOST) == ADA


@pytest.mark.parametrize(
    "key", [HUB_KEY, "docker.io", "index.docker.io", "https://registry-1.docker.io"]
)
def test_docker_hub(folder: Path, key: str) -> None:
    write(folder, {"auths": {HOST: auth("bob"), key: auth()}})
    assert read_credentials("docker.io") == ADA


def test_docker_hub_as_docker_writes_it_goes_first(folder: Path) -> None:
    write(folder, {"auths": {"docker.io": auth("bob"), HUB_KEY: auth()}})
    assert read_credentials("docker.io") == ADA


@pytest.mark.parametrize("key", [HUB_KEY, "docker.io", "index.docker.io"])
def test_the_helper_of_docker_hub_is_asked_for_what_docker_stored(folder: Path, key: str) -> None:
    write(folder, {"credHelpers": {key: "not-installed"}, "credsStore": "nor-this"})
    with pytest.raises(RegistryError, match=f"docker-credential-not-installed for {HUB_KEY} could"):
        read_credentials("docker.io")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(auth(), ADA, id="auth"),
        pytest.param(auth(password="pass:word\0\0"), ADA, id="padded"),
        pytest.param({"username": "ada", "password": "pass:word"}, ADA, id="apart"),
        pytest.param(
            {**auth("bob"), "identitytoken": "token"},
            Credentials(identity_token="token"),
            id="identity token",
        ),
        pytest.param({}, None, id="empty, as beside a helper"),
        pytest.param({"auth": ""}, None, id="empty auth"),
    ],
)
def test_the_kinds_of_entries(
    folder: Path, entry: dict[str, str], expected: Credentials | None
) -> None:
    write(folder, {"auths": {HOST: entry}})
    assert read_credentials(HOST) == expected


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="empty"),
        pytest.param({"auths": {"other.example.com": auth()}}, id="another host"),
        pytest.param({"auths": None, "credHelpers": None}, id="null"),
        pytest.param({"credHelpers": {"other.example.com": "nowhere"}}, id="another's helper"),
        pytest.param({"credsStore": "nowhere", "credHelpers": {HOST: ""}}, id="helper left out"),
    ],
)
def test_no_credentials(folder: Path, config: dict[str, Any]) -> None:
    write(folder, config)
    assert read_credentials(HOST) is None


def test_no_configuration() -> None:
    assert read_credentials(HOST) is None


def test_the_home_is_where_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker").mkdir()
    write(tmp_path / ".docker", {"auths": {HOST: auth()}})
    assert read_credentials(HOST) == ADA


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setattr(Path, "home", fail)
    assert read_credentials(HOST) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param("{", "can't be read: Expecting property name", id="no JSON"),
        pytest.param("[]", "it is no JSON object", id="another document"),
        pytest.param(
            json.dumps({"auths": {HOST: {"auth": "a"}}}), f"docker login {HOST}", id="no base64"
        ),
        pytest.param(
            json.dumps({"auths": {HOST: {"auth": "/w=="}}}), f"docker login {HOST}", id="no text"
        ),
    ],
)
def test_a_damaged_configuration(folder: Path, content: str, reason: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(RegistryError, match=reason):
        read_credentials(HOST)


def test_a_password_is_not_shown() -> None:
    assert "pass" not in repr(ADA)
    assert "pass" not in str([ADA])
