import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aicore_build import __version__
from aicore_build.errors import LockError, OutputError
from aicore_build.generators import Generated
from aicore_build.lock import (
    Lock,
    check_same,
    lock_path,
    make_lock,
    read_lock,
    template_path,
    write_locked,
)
from aicore_build.package import PackageAddress
from aicore_build.reference import Digest, parse_reference
from aicore_build.result import BuiltImage, write_whole
from aicore_build.settings import Settings
from tests.unit.make import DIGEST, OTHER_DIGEST, SHA1, make_flow

TEXT = '{"é": 1}\n'
GENERATED = Generated(
    workflow_template={},
    package=PackageAddress(bucket="bucket", key=f"data/b9/{SHA1}", sha1=SHA1),
    generator="sap-ai-core-metaflow",
    generator_version="1.1.22",
)

EMPTY_LIST: dict[str, object] = {"apiVersion": "v1", "kind": "List", "items": []}

DOCUMENT: dict[str, object] = {
    **EMPTY_LIST,
    "schema": 1,
    "flow": {"name": "TrainFlow", "script": "trainflow.py"},
    "steps": {
        "start": f"r.io/a:v1-prod-1@{DIGEST}",
        "end": f"r.io/a:v1-prod-1@{DIGEST}",
        "train": f"r.io/b:prod-1@{OTHER_DIGEST}",
    },
    "images": [
        {
            "reference": "r.io/a:v1-prod-1",
            "digest": DIGEST,
            "base": {"reference": "r.io/a:v1", "digest": OTHER_DIGEST},
        },
        {
            "reference": "r.io/b:prod-1",
            "digest": OTHER_DIGEST,
            "base": {"reference": "r.io/b", "digest": DIGEST},
        },
    ],
    "code_package": {"sha1": SHA1, "sha256": hashlib.sha256(b"package").hexdigest()},
    "generator": {"name": "sap-ai-core-metaflow", "version": "1.1.22"},
    "metaflow": "2.12.25",
    "python": "3.11.7",
    "aicore_build": __version__,
    "workflow_template": {
        "file": "trainflow.json",
        "sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
    },
}


def image(reference: str, *steps: str, digest: Digest | None) -> BuiltImage:
    return BuiltImage(
        reference=parse_reference(reference),
        steps=steps,
        built=False,
        base_image=None,
        digest=digest,
    )


def locked(
    folder: Path, *, built: Digest | None = DIGEST, base: Digest | None = OTHER_DIGEST
) -> Lock:
    """A lock of two images, the first of which may not be there."""
    job_tar = folder / "job.tar"
    job_tar.write_bytes(b"package")
    images = (
        (
            image("r.io/a:v1", "start", "end", digest=base),
            image("r.io/a:v1-prod-1", "start", "end", digest=built),
        ),
        (
            image(f"r.io/b@{DIGEST}", "train", digest=DIGEST),
            image("r.io/b:prod-1", "train", digest=OTHER_DIGEST),
        ),
    )
    return make_lock(make_flow(), images, GENERATED, job_tar, folder / "trainflow.json", TEXT)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A workflow template, with its lock beside it."""
    path = tmp_path / "trainflow.json"
    write_locked(path, TEXT, locked(tmp_path))
    return path


def test_the_workflow_template_is_where_it_always_was(tmp_path: Path) -> None:
    (tmp_path / "link.py").symlink_to(tmp_path / "trainflow.py")
    assert template_path(tmp_path / "link.py", Settings()) == tmp_path / "trainflow.json"
    output = tmp_path / "deploy" / "x.json"
    assert template_path(tmp_path / "trainflow.py", Settings(output=output)) == output


@pytest.mark.parametrize(
    ("name", "lock"),
    [
        ("trainflow.json", "trainflow.lock.json"),
        ("train.v2.json", "train.v2.lock.json"),
        ("trainflow", "trainflow.lock.json"),
    ],
)
def test_the_lock_is_named_by_the_stem(name: str, lock: str) -> None:
    assert lock_path(Path("deploy") / name) == Path("deploy") / lock


def test_what_is_locked(template: Path) -> None:
    text = lock_path(template).read_text(encoding="utf-8")
    assert json.loads(text) == DOCUMENT
    assert list(json.loads(text)["steps"]) == ["start", "end", "train"]
    assert text.endswith("}\n")
    assert str(template.parent) not in text


def test_what_is_read_is_what_was_written(template: Path, tmp_path: Path) -> None:
    assert read_lock(lock_path(template)) == locked(tmp_path)


def test_equal_locks_are_written_once(template: Path, tmp_path: Path) -> None:
    before = [path.stat() for path in (template, lock_path(template))]
    write_locked(template, TEXT, locked(tmp_path))
    after = [path.stat() for path in (template, lock_path(template))]
    assert [(s.st_ino, s.st_mtime_ns) for s in after] == [(s.st_ino, s.st_mtime_ns) for s in before]


def test_a_stop_between_template_and_lock_is_noticed(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_lock(lock_path(template))
    write = write_whole

    def stop(path: Path, text: str) -> None:
        if path == lock_path(template):
            raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr("aicore_build.lock.write_whole", stop)
    with pytest.raises(KeyboardInterrupt):
        write_locked(template, "new", replace(before, template_sha256="of the new one"))
    assert template.read_text(encoding="utf-8") == "new"
    with pytest.raises(LockError, match=r"trainflow\.json on disk \(sha256\): "):
        check_same(read_lock(lock_path(template)), locked(tmp_path), template)


def test_a_lock_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "trainflow.lock.json").mkdir()
    with pytest.raises(OutputError, match=r"trainflow\.lock\.json can't be written"):
        write_locked(tmp_path / "trainflow.json", TEXT, locked(tmp_path))


def test_no_lock(tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"(?s)There is no lock .*x\.lock\.json.*aicore-build prod"):
        read_lock(tmp_path / "x.lock.json")


def test_a_lock_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="can't be read"):
        read_lock(tmp_path)


def changed(*path: str | int, to: object = None) -> dict[str, Any]:
    """The document with a value changed, or, without one, removed."""
    document = copy.deepcopy(DOCUMENT)
    *where, last = path
    inner: Any = document
    for key in where:
        inner = inner[key]
    if to is None:
        del inner[last]
    else:
        inner[last] = to
    return document


def leaves(document: object, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaves(value, *path, key)
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from leaves(value, *path, number)
    else:
        yield path


@pytest.mark.parametrize(
    "leaf",
    [
        pytest.param(leaf, id=".".join(map(str, leaf)))
        for leaf in leaves(DOCUMENT)
        if leaf[0] not in EMPTY_LIST
        and leaf not in {("steps", "start"), ("steps", "end")}  # the other one has the image too
    ],
)
def test_a_lock_that_lacks_something_is_refused(
    tmp_path: Path, leaf: tuple[str | int, ...]
) -> None:
    path = tmp_path / "x.lock.json"
    path.write_text(json.dumps(changed(*leaf)), encoding="utf-8")
    with pytest.raises(LockError, match=r"(?s)is no lock that .*aicore-build prod"):
        read_lock(path)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("<<<<<<< HEAD\n{}\n", id="a conflict of git"),
        pytest.param("[]", id="a list"),
        pytest.param(json.dumps(changed("schema", to=2)), id="another schema"),
        pytest.param(json.dumps(changed("python", to=3.11)), id="a number"),
        pytest.param(json.dumps(changed("images", 0, "digest", to="sha256:1")), id="no digest"),
        pytest.param(json.dumps(changed("images", 0, "reference", to="A B")), id="no reference"),
        pytest.param(json.dumps(changed("images", to=[])), id="steps without images"),
        pytest.param(
            json.dumps(changed("workflow_template", "file", to="../x.json")), id="elsewhere"
        ),
    ],
)
def test_what_is_no_lock(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.lock.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LockError, match=r"(?s)x\.lock\.json is no lock that .*aicore-build prod"):
        read_lock(path)


def test_nothing_differs(template: Path, tmp_path: Path) -> None:
    check_same(read_lock(lock_path(template)), locked(tmp_path), template)


COMPARED = {
    "flow": "flow",
    "script": "script",
    "package_sha1": "code package (sha1)",
    "package_sha256": "code package (sha256)",
    "generator": "generator",
    "generator_version": "generator",
    "metaflow": "Metaflow",
    "python": "Python",
    "tool": "aicore-build",
    "template": "file of the workflow template",
    "template_sha256": "workflow template (sha256)",
}


def test_all_that_is_locked_is_compared() -> None:
    assert {*COMPARED, "images"} == set(Lock.__dataclass_fields__)


@pytest.mark.parametrize("field", COMPARED)
def test_a_difference_is_named(template: Path, tmp_path: Path, field: str) -> None:
    changes: dict[str, Any] = {field: "new"}
    now = replace(locked(tmp_path), **changes)
    with pytest.raises(LockError) as caught:
        check_same(read_lock(lock_path(template)), now, template)
    first, line, *_ = str(caught.value).splitlines()
    assert str(lock_path(template)) in first
    assert line.startswith(f"  {COMPARED[field]}: ")
    assert " → " in line
    assert "new" in line.partition(" → ")[2]
    assert str(caught.value).count("→") == 1


def differences(template: Path, now: Lock) -> list[str]:
    with pytest.raises(LockError) as caught:
        check_same(read_lock(lock_path(template)), now, template)
    return [line.strip() for line in str(caught.value).splitlines()[1:-1]]


def test_other_images_are_named_by_their_steps(template: Path, tmp_path: Path) -> None:
    assert differences(template, locked(tmp_path, built=OTHER_DIGEST, base=DIGEST)) == [
        f"dev image of start, end: r.io/a:v1@{OTHER_DIGEST} → r.io/a:v1@{DIGEST}",
        f"prod image of start, end: r.io/a:v1-prod-1@{DIGEST} → r.io/a:v1-prod-1@{OTHER_DIGEST}",
    ]


def test_images_that_are_not_there_are_differences(template: Path, tmp_path: Path) -> None:
    none = "none in its registry that is made from what is here now"
    found = differences(template, locked(tmp_path, built=None, base=None))
    assert found[:2] == [
        f"dev image of start, end: r.io/a:v1@{OTHER_DIGEST} → {none}",
        f"prod image of start, end: r.io/a:v1-prod-1@{DIGEST} → {none}",
    ]
    assert found[2].endswith("→ unknown, with images missing")
    assert len(found) == 3


def test_an_image_by_digest_that_is_not_there(template: Path, tmp_path: Path) -> None:
    now = locked(tmp_path)
    gone = make_lock(
        make_flow(),
        (
            (
                image(f"r.io/b@{DIGEST}", "train", digest=None),
                image("r.io/b:1", "train", digest=None),
            ),
        ),
        GENERATED,
        tmp_path / "job.tar",
        template,
        TEXT,
    )
    assert gone.images[0].base is None
    [line] = [
        line
        for line in differences(template, replace(now, images=(now.images[0], *gone.images)))
        if line.startswith("dev image of train")
    ]
    assert line.partition(" → ")[2].startswith("none in its registry")


def test_steps_that_come_and_go(template: Path, tmp_path: Path) -> None:
    now = locked(tmp_path)
    moved = replace(now, images=(replace(now.images[0], steps=("start",)), now.images[1]))
    found = differences(template, moved)
    assert f"prod image of start, end: r.io/a:v1-prod-1@{DIGEST} → none" in found
    assert f"prod image of start: none → r.io/a:v1-prod-1@{DIGEST}" in found


def test_a_workflow_template_that_was_edited_or_removed(template: Path, tmp_path: Path) -> None:
    now = locked(tmp_path)
    template.write_text("edited", encoding="utf-8")
    sha256 = hashlib.sha256(b"edited").hexdigest()
    old = now.template_sha256
    assert differences(template, now) == [f"trainflow.json on disk (sha256): {old} → {sha256}"]
    template.unlink()
    assert differences(template, now) == [f"trainflow.json on disk (sha256): {old} → none"]
