import contextlib
import json

import pytest

from aicore_build.context import BuildContext
from aicore_build.layer import text_entry
from aicore_build.record import context_digest, dev_inputs, prod_inputs, render_inputs


def context(dockerfile: str = "FROM x", **files: str) -> BuildContext:
    return BuildContext(
        dockerfile=dockerfile,
        entries=lambda: contextlib.nullcontext([text_entry(n, t) for n, t in files.items()]),
        private_files=("secret",),
    )


def test_context_is_known_by_what_the_image_holds() -> None:
    digest = context_digest(context(a="1", b="2"))
    assert digest == context_digest(context(b="2", a="1"))
    assert digest == context_digest(context(a="1", b="2", secret="password"))
    assert digest != context_digest(context(a="1", b="3"))
    assert digest != context_digest(context("FROM y", a="1", b="2"))


def test_dev_inputs_differ_with_each_of_them() -> None:
    base = {"python:3.11-slim": "sha256:1"}
    variants = [
        dev_inputs(context(), ("a",), base, "linux/amd64"),
        dev_inputs(context(a="1"), ("a",), base, "linux/amd64"),
        dev_inputs(context(), ("b",), base, "linux/amd64"),
        dev_inputs(context(), ("a",), {"python:3.11-slim": "sha256:2"}, "linux/amd64"),
        dev_inputs(context(), ("a",), base, "linux/arm64"),
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
