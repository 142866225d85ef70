import hashlib
import os
from pathlib import Path

import pytest

from aicore_build.errors import OutputError
from aicore_build.package import PackageAddress
from aicore_build.reference import Digest, parse_reference
from aicore_build.result import BuiltImage, Result, images_by_step, write_whole
from tests.unit.make import DIGEST, SHA1, make_flow


def built(reference: str, *steps: str, digest: Digest | None = DIGEST) -> BuiltImage:
    return BuiltImage(
        reference=parse_reference(reference),
        steps=steps,
        built=True,
        base_image="python:3.11-slim",
        digest=digest,
        image_id="sha256:12",
    )


@pytest.mark.parametrize(
    ("image", "pinned"),
    [
        pytest.param(built("r.io/a:v1"), f"r.io/a:v1@{DIGEST}", id="pushed"),
        pytest.param(built("r.io/a:v1", digest=None), "None", id="not pushed"),
        pytest.param(built(f"r.io/a@{DIGEST}", digest=None), f"r.io/a@{DIGEST}", id="by digest"),
    ],
)
def test_an_image_is_pinned_by_its_digest(image: BuiltImage, pinned: str) -> None:
    assert str(image.pinned) == pinned


def test_each_step_gets_its_image() -> None:
    images = (built("r.io/a:1", "start", "end"), built("r.io/b:1", "train"))
    assert images_by_step(images) == {
        "start": f"r.io/a:1@{DIGEST}",
        "end": f"r.io/a:1@{DIGEST}",
        "train": f"r.io/b:1@{DIGEST}",
    }


def test_the_result_as_json(tmp_path: Path) -> None:
    path = tmp_path / "trainflow.json"
    path.write_text("{}", encoding="utf-8")
    result = Result(
        command="prod",
        flow=make_flow(),
        images=(built("r.io/a:v1", "start", "end"),),
        package=PackageAddress(bucket="bucket", key=f"data/b9/{SHA1}", sha1=SHA1),
        workflow_template=path,
        lock=tmp_path / "trainflow.lock.json",
    )
    assert result.as_json() == {
        "schema": 1,
        "command": "prod",
        "flow": {"name": "TrainFlow", "script": "/flows/trainflow.py"},
        "images": [
            {
                "reference": "r.io/a:v1",
                "steps": ["start", "end"],
                "built": True,
                "base_image": "python:3.11-slim",
                "digest": DIGEST,
                "pinned": f"r.io/a:v1@{DIGEST}",
                "image_id": "sha256:12",
            }
        ],
        "code_package": {"address": f"s3://bucket/data/b9/{SHA1}", "sha1": SHA1},
        "workflow_template": {"path": str(path), "sha256": hashlib.sha256(b"{}").hexdigest()},
        "lock": str(tmp_path / "trainflow.lock.json"),
    }


def test_what_was_not_made_is_null() -> None:
    result = Result(
        command="dev",
        flow=make_flow(),
        images=(built("r.io/a:v1", digest=None),),
        package=None,
        workflow_template=None,
    )
    document = result.as_json()
    made = [document[key] for key in ("code_package", "workflow_template", "lock")]
    assert made == [None, None, None]
    assert (document["images"][0]["digest"], document["images"][0]["pinned"]) == (None, None)


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "flow.json"
    write_whole(path, "text é\n")
    assert path.read_bytes() == "text é\n".encode()
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_that_has_the_text_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "flow.json"
    path.write_text("same", encoding="utf-8")
    os.utime(path, ns=(1, 1))
    before = path.stat()
    write_whole(path, "same")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (1, before.st_ino)


def test_a_file_with_other_text_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "flow.json"
    path.write_text("a longer text than the new one", encoding="utf-8")
    with path.open(encoding="utf-8") as reader:  # of the old file, which nobody writes to
        write_whole(path, "new")
        assert reader.read() == "a longer text than the new one"
    assert path.read_text(encoding="utf-8") == "new"


def test_of_a_write_that_fails_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_from: Path, _to: Path) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "flow.json"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"flow\.json can't be written: No space left"):
        write_whole(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("folder", "Is a directory", id="a folder is there"),
        pytest.param("file/flow.json", "exists|Not a directory", id="below a file"),
    ],
)
def test_a_path_that_cannot_be_written(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=f"can't be written: .*({reason})"):
        write_whole(tmp_path / name, "text")
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file"}
