import pytest

from aicore_build.errors import FlowError
from aicore_build.reference import (
    DigestReference,
    Repository,
    TagReference,
    parse_reference,
)
from tests.unit.make import DIGEST


@pytest.mark.parametrize(
    ("text", "host", "path", "tag"),
    [
        pytest.param("python", "docker.io", "library/python", "latest", id="name"),
        pytest.param("python:3.11-slim", "docker.io", "library/python", "3.11-slim", id="tag"),
        pytest.param("acme/train:v1", "docker.io", "acme/train", "v1", id="hub account"),
        pytest.param("docker.io/python:3", "docker.io", "library/python", "3", id="hub official"),
        pytest.param("docker.io/acme/train", "docker.io", "acme/train", "latest", id="hub"),
        pytest.param(
            "index.docker.io/acme/train:1", "docker.io", "acme/train", "1", id="hub index"
        ),
        pytest.param("index.docker.io/python:1", "docker.io", "library/python", "1", id="hub old"),
        pytest.param("localhost/train:1", "localhost", "train", "1", id="localhost"),
        pytest.param("localhost:5000/a/b/c:1", "localhost:5000", "a/b/c", "1", id="port"),
        pytest.param("localhost", "docker.io", "library/localhost", "latest", id="no host"),
        pytest.param("registry:5000", "docker.io", "library/registry", "5000", id="tag, not port"),
        pytest.param("reg.example.com/train:1", "reg.example.com", "train", "1", id="host"),
        pytest.param("Reg.Example.com/train:1", "Reg.Example.com", "train", "1", id="upper host"),
        pytest.param("[::1]:5000/train:1", "[::1]:5000", "train", "1", id="IPv6"),
        pytest.param("127.0.0.1:5000/train:1", "127.0.0.1:5000", "train", "1", id="IPv4"),
        pytest.param("r.io/a.b_c__d---e/f:_V.1-x", "r.io", "a.b_c__d---e/f", "_V.1-x", id="marks"),
        pytest.param(f"r.io/a:{'t' * 128}", "r.io", "a", "t" * 128, id="longest tag"),
    ],
)
def test_a_tag_reference(text: str, host: str, path: str, tag: str) -> None:
    expected = TagReference(repository=Repository(host=host, path=path), tag=tag)
    assert parse_reference(text) == expected
    assert parse_reference(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "tag", "written"),
    [
        pytest.param(f"r.io/a@{DIGEST}", None, f"r.io/a@{DIGEST}", id="digest"),
        pytest.param(f"r.io/a:v1@{DIGEST}", "v1", f"r.io/a:v1@{DIGEST}", id="tag and digest"),
        pytest.param(f"a@{DIGEST}", None, f"docker.io/library/a@{DIGEST}", id="hub"),
    ],
)
def test_a_digest_reference(text: str, tag: str | None, written: str) -> None:
    reference = parse_reference(text)
    assert isinstance(reference, DigestReference)
    assert (reference.digest, reference.tag) == (DIGEST, tag)
    assert str(reference) == written
    assert parse_reference(written) == reference


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(" ", id="blank"),
        pytest.param("acme/Train:v1", id="upper case"),
        pytest.param("reg.example.com/acme/Train:v1", id="upper case behind a host"),
        pytest.param("acme/train:", id="empty tag"),
        pytest.param("acme/train:v1:v2", id="two tags"),
        pytest.param("acme/train:.v1", id="tag begins with a dot"),
        pytest.param(f"acme/train:{'t' * 129}", id="tag too long"),
        pytest.param("acme/train:é", id="tag beyond ASCII"),
        pytest.param("acme/train@sha256:12", id="short digest"),
        pytest.param(f"acme/train@{DIGEST.upper()}", id="upper case digest"),
        pytest.param(f"acme/train@{DIGEST}0", id="long digest"),
        pytest.param("acme/train@v1", id="no digest"),
        pytest.param("acme/train:v1@", id="empty digest"),
        pytest.param("https://reg.example.com/train:v1", id="URL"),
        pytest.param("/train:v1", id="no first part"),
        pytest.param("acme/:v1", id="no last part"),
        pytest.param("acme//train", id="empty part"),
        pytest.param("acme/-train", id="part begins with a hyphen"),
        pytest.param("acme/a___b", id="three underscores"),
        pytest.param("-reg.example.com/train", id="host begins with a hyphen"),
        pytest.param("reg.example.com:port/train", id="port is no number"),
        pytest.param("acme/tr ain:v1", id="space"),
        pytest.param("acme/train:v1\n", id="line end"),
        pytest.param("<repo>/<metaflow-train:tag>", id="placeholder"),
    ],
)
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(FlowError, match="is not an image reference") as refused:
        parse_reference(text)
    assert repr(text) in str(refused.value)


def test_a_tag_is_pinned_to_a_digest() -> None:
    reference = parse_reference("acme/train:v1")
    assert isinstance(reference, TagReference)
    assert str(reference.pinned(DIGEST)) == f"docker.io/acme/train:v1@{DIGEST}"
