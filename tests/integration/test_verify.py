"""`verify` names the right cause for broken images and templates, and leaves nothing behind."""

from pathlib import Path

import pytest

from tests.integration.conftest import make_project
from tests.integration.prod import Prod
from tests.sandbox import Sandbox
from tests.unit.workflows import a_step


@pytest.fixture(scope="module")
def prod(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Prod:
    """Made once: nothing here changes it."""
    return Prod.make(make_project(sandbox, tmp_path_factory.mktemp("prod")))


def test_a_good_image_passes(prod: Prod, tmp_path: Path) -> None:
    verified = prod.verify(tmp_path, prod.document, "--quick", lock=prod.lock())
    assert verified.exit_code == 0, verified.stderr
    [image] = verified.report["images"]
    assert {check["name"] for check in image["checks"]} == {
        "platform",
        "python",
        "bash",
        "boto3",
        "requests",
        "writable-workdir",
        "writable-home",
        "package",
        "recorded-package",
        "flow",
        "commands",
    }
    assert verified.report["runs"] == []


@pytest.mark.parametrize(
    ("instructions", "problems", "named", "fix"),
    [
        pytest.param(
            "RUN chmod 755 /user/home",
            {"writable-workdir", "writable-home"},
            "can't write to /user/home, the image's WORKDIR: Permission denied",
            "mkdir -m 777",
            id="WORKDIR not writable",
        ),
        pytest.param(
            # Debian's Python, of the sandbox, has one of its own below that of pip.
            "RUN while found=$(python -c 'import requests; print(*requests.__path__)'); do "
            "rm -r $found; done",
            {"requests"},
            "requests can't be imported: ModuleNotFoundError",
            "Install it in the image",
            id="no requests",
        ),
        pytest.param("RUN rm /bin/bash", {"bash"}, "There is no bash", "Install it", id="no bash"),
        pytest.param(
            "RUN rm -f $(which -a python)",
            {"python"},
            "The image has no program python",
            "`python` is in its PATH",
            id="no python",
        ),
        pytest.param(
            "RUN echo '# changed' >> /user/home/flow.py",
            {"package"},
            "flow.py has other content",
            "prod --force",
            id="changed code",
        ),
    ],
)
def test_a_broken_image_is_named_by_its_cause(
    prod: Prod, tmp_path: Path, instructions: str, problems: set[str], named: str, fix: str
) -> None:
    image = prod.derive("broken:v1", instructions)
    document = prod.small(a_step("work", "-c", "true"), image=image)
    verified = prod.verify(tmp_path, document, "--quick", lock=prod.lock())
    assert verified.exit_code == 14, verified.stderr
    assert set(verified.problems) == set(verified.fixes) == problems
    first = next(iter(verified.problems))
    assert named in verified.problems[first]
    assert fix in verified.fixes[first]


def test_another_code_package_than_the_lock_names(prod: Prod, tmp_path: Path) -> None:
    lock = prod.lock()
    lock["code_package"]["sha1"] = "0" * 40
    document = prod.small(a_step("work", "-c", "true"), image=prod.image)
    verified = prod.verify(tmp_path, document, "--quick", lock=lock)
    assert verified.exit_code == 14, verified.stderr
    assert set(verified.problems) == {"recorded-package"}
    assert "was to have 0000" in verified.problems["recorded-package"]


def test_another_code_package_than_the_tag_names(prod: Prod, tmp_path: Path) -> None:
    image = prod.copy("a:v1-prod-000000000000")
    verified = prod.verify(
        tmp_path, prod.small(a_step("work", "-c", "true"), image=image), "--quick"
    )
    assert verified.exit_code == 14, verified.stderr
    assert set(verified.problems) == {"recorded-package"}
    assert "was to have 000000000000" in verified.problems["recorded-package"]


def test_an_image_for_another_processor(prod: Prod, tmp_path: Path) -> None:
    image = prod.copy("a:arm", architecture="arm64")
    verified = prod.verify(tmp_path, prod.with_image(image), "--quick")
    assert verified.exit_code == 14, verified.stderr
    assert set(verified.problems) == {"platform"}
    assert "linux/arm64" in verified.problems["platform"]
    assert "the setting platform" in verified.fixes["platform"]


def test_an_image_that_is_not_in_the_registry(prod: Prod, tmp_path: Path) -> None:
    image = f"{prod.image.partition('@')[0]}@sha256:{'0' * 64}"
    verified = prod.verify(tmp_path, prod.with_image(image), "--quick")
    assert verified.exit_code == 14
    assert f"The image {image} is not in its registry" in verified.stderr
