from pathlib import Path

import pytest

from aicore_build.errors import VerifyError
from aicore_build.verify.secrets import Mask, find_secrets, is_on_loopback, read_secret

STORE = "default-object-store-secret"
AWS = {
    "AWS_ACCESS_KEY_ID": "id",
    "AWS_SECRET_ACCESS_KEY": "key",
    "AWS_REGION": "",
    "METAFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9000",
    "PATH": "/bin",
}


def a_file(folder: Path, text: str) -> Path:
    path = folder / "secret.env"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_as_docker_does(tmp_path: Path) -> None:
    text = """# comment
  # indented

A=1
 B = two words
C="quoted" # no comment
D=x=y
E=
tls.crt=pem
"""
    assert read_secret(a_file(tmp_path, text)) == {
        "A": "1",
        "B": " two words",
        "C": '"quoted" # no comment',
        "D": "x=y",
        "E": "",
        "tls.crt": "pem",
    }


@pytest.mark.parametrize("line", ["A", "=1", "export A=1", "1A=x", "A: 1"])
def test_a_line_that_is_something_else_is_named_without_what_it_says(
    tmp_path: Path, line: str
) -> None:
    path = a_file(tmp_path, f"A=1\n\n{line}\n")
    with pytest.raises(VerifyError) as caught:
        read_secret(path)
    assert str(caught.value) == f"Line 3 of {path} is not NAME=value."


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(VerifyError, match=r"secret's file .*none\.env can't be read: .*No such"):
        read_secret(tmp_path / "none.env")
    binary = tmp_path / "binary"
    binary.write_bytes(b"A=\xff")
    with pytest.raises(VerifyError, match="can't be read"):
        read_secret(binary)


def test_secrets_are_found_in_files_and_in_the_environment(tmp_path: Path) -> None:
    files = {"other": a_file(tmp_path, "TOKEN=t")}
    found = find_secrets(["other", STORE], files, STORE, AWS)
    assert found == {
        "other": {"TOKEN": "t"},
        STORE: {
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "key",
            "METAFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9000",
        },
    }


def test_a_file_counts_before_the_environment(tmp_path: Path) -> None:
    files = {STORE: a_file(tmp_path, "A=1")}
    assert find_secrets([STORE], files, STORE, AWS) == {STORE: {"A": "1"}}


def test_what_is_not_needed_is_not_looked_for(tmp_path: Path) -> None:
    assert find_secrets([], {"other": tmp_path / "none"}, STORE, AWS) == {}


def test_the_environment_stands_for_the_object_store_alone() -> None:
    with pytest.raises(VerifyError) as caught:
        find_secrets(["other"], {}, STORE, AWS)
    assert "the secret other, which is not known here" in str(caught.value)
    assert str(caught.value).endswith("--secret other=FILE")


def test_without_keys_the_environment_does_not_stand_for_it() -> None:
    with pytest.raises(VerifyError) as caught:
        find_secrets([STORE], {}, STORE, {"AWS_REGION": "eu-central-1"})
    assert f"--secret {STORE}=FILE\nOr set AWS_ACCESS_KEY_ID and" in str(caught.value)


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        pytest.param({"METAFLOW_S3_ENDPOINT_URL": "http://localhost:9000"}, True, id="localhost"),
        pytest.param({"AWS_ENDPOINT_URL": "http://127.0.0.2:9000"}, True, id="127."),
        pytest.param({"AWS_ENDPOINT_URL_S3": "http://[::1]:9000"}, True, id="IPv6"),
        pytest.param({"AWS_ENDPOINT_URL_S3": "https://s3.eu.example.com"}, False, id="elsewhere"),
        pytest.param({"AWS_ENDPOINT_URL_S3": "https://localhost.example.com"}, False, id="a name"),
        pytest.param({"OTHER": "http://localhost:9000"}, False, id="no store's"),
        pytest.param({"AWS_ENDPOINT_URL": ""}, False, id="empty"),
        pytest.param({}, False, id="AWS itself"),
    ],
)
def test_a_store_on_loopback(secret: dict[str, str], expected: bool) -> None:
    assert is_on_loopback({"one": {}, "store": secret}) is expected


def test_what_is_confidential_is_hidden() -> None:
    secrets = {
        "store": {
            "AWS_ACCESS_KEY_ID": "AKIA1234",
            "AWS_SECRET_ACCESS_KEY": "AKIA1234/longer+key",
            "AWS_REGION": "eu-central-1",
            "API_TOKEN": "abc",
        },
        "other": {"db_password": "p.ss word", "DSN": "12345678", "FLAG": "true"},
    }
    mask = Mask(secrets)
    said = "AKIA1234/longer+key AKIA1234 eu-central-1 abc p.ss word pass word 12345678 true"
    assert mask(said) == "*** *** eu-central-1 abc *** pass word *** true"


@pytest.mark.parametrize("secrets", [{}, {"s": {"KEY": ""}}, {"s": {"AWS_REGION": "eu-central-1"}}])
def test_nothing_to_hide(secrets: dict[str, dict[str, str]]) -> None:
    assert Mask(secrets)("any eu-central-1 text") == "any eu-central-1 text"
