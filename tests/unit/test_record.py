import contextlib
import json
from typing import Any

import pytest

from aicore_build.changes import Input
from aicore_build.context import BuildContext
from aicore_build.layer import text_entry
from aicore_build.plan import Environment
from aicore_build.record import (
    LABEL,
    compare,
    context_digest,
    dev_inputs,
    find_up_to_date,
    prod_inputs,
    render_inputs,
)
from aicore_build.reference import Digest, ImageReference, Repository, TagReference, parse_reference
from aicore_build.registry import Manifest
from tests.unit.make import CPU, GPU


def context(dockerfile: str = "FROM x", **files: str) -> BuildContext:
    return BuildContext(
        dockerfile=dockerfile,
        entries=lambda: contextlib.nullcontext([text_entry(n, t) for n, t in files.items()]),
        private_files=("secret",),
    )


def environment(*requirements: str, apt: tuple[str, ...] = ()) -> Environment:
    return Environment(base_image="python:3.11-slim", requirements=requirements, apt_packages=apt)


def test_context_is_known_by_what_the_image_holds() -> None:
    digest = context_digest(context(a="1", b="2"))
    assert digest == context_digest(context(b="2", a="1"))
    assert digest == context_digest(context(a="1", b="2", secret="password"))
    assert digest != context_digest(context(a="1", b="3"))
    assert digest != context_digest(context("FROM y", a="1", b="2"))


def test_dev_inputs_differ_with_each_of_them() -> None:
    base = {"python:3.11-slim": "sha256:1"}
    variants = [
        dev_inputs(context(), environment("a"), base, "linux/amd64"),
        dev_inputs(context(a="1"), environment("a"), base, "linux/amd64"),
        dev_inputs(context(), environment("b"), base, "linux/amd64"),
        dev_inputs(context(), environment("a"), {"python:3.11-slim": "sha256:2"}, "linux/amd64"),
        dev_inputs(context(), environment("a"), base, "linux/arm64"),
        prod_inputs("docker", "sha256:1", "5ha1"),
        prod_inputs("registry", "sha256:1", "5ha1"),
        prod_inputs("docker", "sha256:2", "5ha1"),
        prod_inputs("docker", "sha256:1", "5ha2"),
    ]
    assert len({render_inputs(inputs) for inputs in variants}) == len(variants)


@pytest.mark.parametrize("order", [1, -1])
def test_equal_inputs_are_equal_texts(order: int) -> None:
    inputs = dict(list(prod_inputs("docker", "sha256:1", "5ha1").items())[::order])
    text = render_inputs(inputs)
    assert text == render_inputs(prod_inputs("docker", "sha256:1", "5ha1"))
    assert json.loads(text)["package"] == "5ha1"


def test_the_label_is_short_whatever_is_in_it() -> None:
    pinned = [f"library-{n}==1.0 --hash=sha256:{n:064d}" for n in range(20)]
    inputs = dev_inputs(context(), environment(*pinned), {"x": "sha256:1"}, "linux/amd64")
    assert "library-7 (" in render_inputs(inputs)
    many = tuple(f"library-{n}==1.0" for n in range(500))
    for given in (environment(*pinned), environment(*many), environment("a", apt=many)):
        bases = {f"registry.example.com/acme/{n}": "sha256:" + "0" * 64 for n in range(30)}
        assert len(render_inputs(dev_inputs(context(), given, bases, "linux/amd64"))) < 2048
    assert dev_inputs(context(), environment(*many), {}, "x") != dev_inputs(
        context(), environment(*many[:-1]), {}, "x"
    )


class Images:
    """A registry with one image."""

    def __init__(self, label: str, *, created_by: str = "LABEL aicore-build.inputs=…") -> None:
        self.config = {
            "config": {"Labels": {LABEL: label}},
            "history": [{"created_by": created_by}],
        }
        self.manifest = Manifest(raw=b'{"config": {"digest": "sha256:c"}}', media_type="")

    def get_manifest(self, reference: ImageReference) -> Manifest | None:
        return self.manifest if str(reference) == CPU else None

    def get_document(self, repository: Repository, digest: Digest) -> dict[str, Any]:
        assert (str(repository), digest) == (CPU.partition(":")[0], "sha256:c")
        return self.config


def tag(text: str) -> TagReference:
    reference = parse_reference(text)
    assert isinstance(reference, TagReference)
    return reference


def test_an_image_is_up_to_date_if_and_only_if_nothing_changed() -> None:
    inputs = prod_inputs("docker", "sha256:1", "5ha1")
    images = Images(render_inputs(inputs))
    same = compare(images, tag(CPU), inputs)
    assert (same.up_to_date, same.is_there, same.changes) == (images.manifest, True, ())
    assert find_up_to_date(images, tag(CPU), inputs) is images.manifest
    other = compare(images, tag(CPU), prod_inputs("registry", "sha256:1", "5ha1"))
    assert (other.up_to_date, other.is_there) == (None, True)
    assert [change.input for change in other.changes] == [Input.BUILDER]
    missing = compare(images, tag(GPU), inputs)
    assert (missing.up_to_date, missing.is_there) == (None, False)
    assert [change.input for change in missing.changes] == [Input.IMAGE]


@pytest.mark.parametrize(
    ("images", "changed"),
    [
        pytest.param(Images("no JSON"), Input.IMAGE, id="no record"),
        pytest.param(Images("[]"), Input.IMAGE, id="another document"),
        pytest.param(Images("{}", created_by="RUN x"), Input.IMAGE, id="built on one of ours"),
        pytest.param(Images("{}"), Input.RECORD, id="of another version"),
        pytest.param(
            Images(json.dumps(prod_inputs("docker", "sha256:1", "5ha1"))),
            Input.RECORD,
            id="another text",
        ),
    ],
)
def test_what_is_not_as_we_record_it_is_never_up_to_date(images: Images, changed: Input) -> None:
    found = compare(images, tag(CPU), prod_inputs("docker", "sha256:1", "5ha1"))
    assert (found.up_to_date, [change.input for change in found.changes]) == (None, [changed])
