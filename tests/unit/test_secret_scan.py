import io
from importlib.metadata import files
from pathlib import Path

import pytest

from aicore_build.secret_scan import Secret, SecretKind, scan_content, scan_name

KEY_BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
AWS_SECRET = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3hJ5lM7o"


def kinds(text: str | bytes) -> list[tuple[int, SecretKind]]:
    content = text.encode() if isinstance(text, str) else text
    return [(s.line, s.kind) for s in scan_content("x.py", io.BytesIO(content))]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        pytest.param(
            f"-----BEGIN PRIVATE KEY-----\n{KEY_BODY}\n", SecretKind.PRIVATE_KEY, id="PEM"
        ),
        pytest.param(
            f'K = "-----BEGIN RSA PRIVATE KEY-----\\n{KEY_BODY}"', SecretKind.PRIVATE_KEY, id="text"
        ),
        pytest.param(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
            f"DEK-Info: AES-128-CBC,0123\n\n{KEY_BODY}",
            SecretKind.PRIVATE_KEY,
            id="encrypted PEM",
        ),
        pytest.param('key="AKIA2E4G6J7L8N9PQRST"', SecretKind.AWS_KEY_ID, id="AWS key ID"),
        pytest.param(
            f'os.environ["AWS_SECRET_ACCESS_KEY"] = "{AWS_SECRET}"',
            SecretKind.AWS_SECRET,
            id="AWS secret",
        ),
        pytest.param(
            f"aws_secret_access_key={AWS_SECRET}", SecretKind.AWS_SECRET, id="AWS secret, bare"
        ),
        pytest.param(
            '{"clientsecret": "4f2a8b1c-77de-4e0a-9a11$Qx0y=", "clientid": "sb"}',
            SecretKind.CLIENT_SECRET,
            id="service key",
        ),
        pytest.param("t = 'ghp_" + "a1B2" * 9 + "'", SecretKind.TOKEN, id="GitHub"),
        pytest.param("t = 'hf_" + "aBcD" * 8 + "eF'", SecretKind.TOKEN, id="Hugging Face"),
        pytest.param(
            "postgresql://ada:Tr0ub4dor@db.acme.io/x", SecretKind.PASSWORD_IN_URL, id="URL"
        ),
    ],
)
def test_secrets_are_found_with_their_line(line: str, kind: SecretKind) -> None:
    assert kinds(f"# first\n{line}\n") == [(2, kind)]


@pytest.mark.parametrize(
    "line",
    [
        'os.environ["AWS_SECRET_ACCESS_KEY"]',
        'key = os.getenv("AWS_SECRET_ACCESS_KEY", "")',
        "aws_secret_access_key=settings.aws_secret_access_key_of_the_store_x",
        "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAPACIFICREGIONSALL",
        'if "-----BEGIN PRIVATE KEY-----" in text:',
        '"-----BEGIN PRIVATE KEY-----\\n..."',
        'clientsecret = os.environ["AICORE_CLIENT_SECRET"]',
        '"clientsecret": "<your client secret, 36 digits>"',
        "https://user:password@registry.acme.io",
        "https://ada:hunter22@example.com",
        'f"postgresql://{user}:{password}@{host}/x"',
        '"postgresql://%s:%s@%s" % x',
        "amqp://guest:guest@localhost",
        "http://localhost:8080/a@b",
        "https://ada:$TOKEN@github.com",
        "class='sk-estimator-id-1 sk-toggleable__content'",
        "token = read_token()",
    ],
)
def test_names_and_placeholders_are_none(line: str) -> None:
    assert kinds(line) == []


def test_what_is_found_is_not_repeated() -> None:
    [found] = scan_content("conf.py", io.BytesIO(f"aws_secret_key = '{AWS_SECRET}'".encode()))
    assert str(found) == "conf.py, line 1: AWS secret access key"
    assert AWS_SECRET not in repr(found)


@pytest.mark.parametrize("before", [1048576 - 20, 1048576 - 70, 2 * 1048576 - 5, 8192])
def test_a_secret_across_two_pieces_is_found_once(before: int) -> None:
    text = b"x\n" * (before // 2) + b"postgres://ada:Tr0ub4dor@db.acme.io/x\n" + b"y\n" * 600_000
    assert kinds(text) == [(before // 2 + 1, SecretKind.PASSWORD_IN_URL)]


def test_a_binary_file_is_not_looked_at() -> None:
    assert kinds(b"\0\1" + b"postgres://ada:Tr0ub4dor@db.acme.io/x\n") == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (".env", SecretKind.ENVIRONMENT_FILE),
        ("conf/.env.local", SecretKind.ENVIRONMENT_FILE),
        ("prod.env", SecretKind.ENVIRONMENT_FILE),
        (".aws/credentials", SecretKind.CREDENTIALS_FILE),
        ("credentials.json", SecretKind.CREDENTIALS_FILE),
        ("keys/id_rsa", SecretKind.CREDENTIALS_FILE),
        ("server.p12", SecretKind.CREDENTIALS_FILE),
        (".env.example", None),
        ("env.py", None),
        ("credentials.py", None),
        ("id_rsa.pub", None),
        ("environment.yml", None),
    ],
)
def test_files_that_are_secret_by_their_name(name: str, kind: SecretKind | None) -> None:
    expected = kind and Secret(file=name, line=0, kind=kind)
    assert scan_name(name, 10) == expected
    assert scan_name(name, 0) is None


@pytest.mark.parametrize("distribution", ["metaflow", "sap-ai-core-metaflow", "rich", "jinja2"])
def test_installed_libraries_give_no_alarm(distribution: str) -> None:
    names = [name for name in files(distribution) or () if name.suffix != ".pyc"]
    assert names
    for name in names:
        path = Path(str(name.locate()))
        if path.is_file():
            with path.open("rb") as content:
                found = [*scan_content(str(name), content)]
            assert (found, scan_name(str(name), 1)) == ([], None)


def test_the_examples_give_no_alarm() -> None:
    examples = Path(__file__).parents[2] / "examples"
    for path in (path for path in examples.rglob("*") if path.is_file()):
        with path.open("rb") as content:
            assert list(scan_content(path.name, content)) == []
