import json
from dataclasses import replace
from pathlib import Path

import pytest

from aicore_build.check_lock import CheckedImage, LockCheck, Variant
from aicore_build.errors import LockError
from aicore_build.lock import LockedImage
from aicore_build.reference import Digest, DigestReference, parse_reference
from tests.unit.make import DIGEST, OTHER_DIGEST, a_lock

PROD, DEV = f"r.io/a:v1-prod-1@{DIGEST}", f"r.io/a:v1@{OTHER_DIGEST}"


def pinned(text: str) -> DigestReference:
    reference = parse_reference(text)
    assert isinstance(reference, DigestReference)
    return reference


def checked(
    text: str, variant: Variant, *, there: bool = True, tag_digest: Digest | None = None
) -> CheckedImage:
    reference = pinned(text)
    return CheckedImage(
        variant=variant,
        reference=reference,
        there=there,
        tag_digest=tag_digest or (reference.digest if there else None),
    )


@pytest.fixture
def good(tmp_path: Path) -> LockCheck:
    """All is as it was locked."""
    template = tmp_path / "flow.json"
    template.write_text("{}", encoding="utf-8")
    image = LockedImage(steps=("start", "the_End"), image=pinned(PROD), base=pinned(DEV))
    lock = a_lock(template, image)
    return LockCheck(
        path=tmp_path / "flow.lock.json",
        lock=lock,
        images=(checked(PROD, "prod"), checked(DEV, "dev")),
        template=template,
        template_sha256=lock.template_sha256,
        named={"start": PROD, "the-end": PROD},
    )


def test_all_is_well(good: LockCheck) -> None:
    good.refuse_problems()
    assert (good.problems, good.warnings) == ((), ())


def test_as_json(good: LockCheck) -> None:
    document = json.loads(json.dumps(good.as_json()))
    sha256 = good.template_sha256
    assert document == {
        "schema": 1,
        "command": "check-lock",
        "lock": str(good.path),
        "ok": True,
        "images": [
            {
                "variant": "prod",
                "pinned": PROD,
                "there": True,
                "tag": "v1-prod-1",
                "tag_digest": DIGEST,
            },
            {
                "variant": "dev",
                "pinned": DEV,
                "there": True,
                "tag": "v1",
                "tag_digest": OTHER_DIGEST,
            },
        ],
        "workflow_template": {
            "path": str(good.template),
            "sha256": sha256,
            "locked_sha256": sha256,
            "names_locked_images": True,
        },
        "problems": [],
        "warnings": [],
    }


@pytest.mark.parametrize(
    ("tag_digest", "points"),
    [
        pytest.param(OTHER_DIGEST, f"points to {OTHER_DIGEST} now", id="moved"),
        pytest.param(None, "points to nothing now", id="deleted"),
    ],
)
def test_a_tag_that_moved_on_is_a_warning(
    good: LockCheck, tag_digest: Digest | None, points: str
) -> None:
    moved = replace(good.images[0], tag_digest=tag_digest)
    found = replace(good, images=(moved, good.images[1]))
    found.refuse_problems()
    [warning] = found.warnings
    assert warning == f"r.io/a:v1-prod-1 {points}, no longer to {DIGEST}."
    assert found.as_json()["ok"]


def test_an_image_without_a_tag_has_none_to_move(good: LockCheck) -> None:
    untagged = replace(checked(f"r.io/a@{DIGEST}", "dev"), tag_digest=None)
    assert replace(good, images=(untagged,)).warnings == ()


def wrong(found: LockCheck) -> str:
    """What is said of it, on which everything depends."""
    assert not found.as_json()["ok"]
    with pytest.raises(LockError) as caught:
        found.refuse_problems()
    said = str(caught.value)
    assert said.startswith(str(found.path))
    assert all(problem in said for problem in found.problems)
    return said


def test_all_that_is_missing_is_named(good: LockCheck) -> None:
    missing = (checked(PROD, "prod", there=False), checked(DEV, "dev", there=False))
    said = wrong(replace(good, images=missing))
    assert f"The prod image {PROD} is not in its registry any more.\nMake it again" in said
    assert f"The dev image {DEV} is not in its registry any more.\n" in said


def test_a_workflow_template_that_is_gone(good: LockCheck) -> None:
    said = wrong(replace(good, template_sha256=None, named=None))
    assert f"The workflow template {good.template} is not there." in said
    assert "aicore-build prod" in said


def test_a_workflow_template_that_was_changed(good: LockCheck) -> None:
    said = wrong(replace(good, template_sha256="changed"))
    assert f"its sha256 is changed, locked is {good.lock.template_sha256}" in said
    assert "doesn't name" not in said


@pytest.mark.parametrize(
    ("named", "line"),
    [
        pytest.param({"start": DEV, "the-end": PROD}, f"start: {PROD} → {DEV}", id="another"),
        pytest.param({"start": PROD}, f"the-end: {PROD} → None", id="a step is missing"),
        pytest.param(
            {"start": PROD, "the-end": PROD, "more": DEV}, f"more: None → {DEV}", id="a step more"
        ),
        pytest.param(None, f"start: {PROD} → None", id="not readable"),
    ],
)
def test_a_workflow_template_with_other_images(
    good: LockCheck, named: dict[str, str | None] | None, line: str
) -> None:
    said = wrong(replace(good, named=named))
    assert f"  {line}\n" in said
    assert "not the one that was locked" not in said
