import io
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from aicore_build.embed import as_oci
from aicore_build.errors import OutputError, RegistryError, SettingsError
from aicore_build.layout import Layout, layout_folder
from aicore_build.parallel import in_parallel
from aicore_build.reference import Digest, TagReference, parse_reference
from aicore_build.registry import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Blob,
    Manifest,
    RegistryClient,
    bytes_blob,
    digest_of,
)
from aicore_build.transport import RETRIES, TransientError
from tests.unit.make import DIGEST

DOCKER = "application/vnd.docker"
OCI = "application/vnd.oci"


def tag(text: str) -> TagReference:
    reference = parse_reference(text)
    assert isinstance(reference, TagReference)
    return reference


A, B = tag("r.io/x/a:v1"), tag("r.io/x/b:v1")


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    with Layout(tmp_path / "images", RegistryClient()) as made:
        yield made


def blobs(layout: Layout) -> list[str]:
    return sorted(path.name for path in (layout.folder / "blobs" / "sha256").iterdir())


def names(layout: Layout) -> list[str]:
    document = json.loads((layout.folder / "index.json").read_text(encoding="utf-8"))
    return [d["annotations"]["org.opencontainers.image.ref.name"] for d in document["manifests"]]


def put_image(layout: Layout, reference: TagReference, content: bytes = b"layer") -> Manifest:
    """Put an image of one layer under a reference."""
    parts = [bytes_blob(b"{}"), bytes_blob(content)]
    for blob in parts:
        layout.upload(reference.repository, blob)
    config, layer = ({"digest": blob.digest, "size": blob.size} for blob in parts)
    raw = json.dumps({"config": config, "layers": [layer]}).encode()
    manifest = Manifest(raw=raw, media_type=OCI_MANIFEST)
    layout.put_manifest(reference, manifest)
    return manifest


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("oci:/images", "/images"),
        ("oci:images", "{here}/images"),
        ("oci:../a b", "{here}/../a b"),
        ("oci:~/images", "/home/ada/images"),
    ],
)
def test_the_folder(text: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert layout_folder(text) == Path(folder.format(here=Path.cwd()))


@pytest.mark.parametrize("text", ["", "images", "oci", "oci:", "dir:images", "oci:images:v1"])
def test_what_is_no_folder(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--push-to is .* has to be oci: and a folder"):
        layout_folder(text)


def test_looking_writes_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "images", RegistryClient())
    layout.check()
    assert layout.get_manifest(A) is None
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    with Layout(tmp_path, RegistryClient()):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "oci-layout"]


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(SettingsError, match="is no OCI image layout, and not empty"):
            Layout(folder, RegistryClient()).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"can't be written to .*Not a directory"):
        Layout(tmp_path / "file" / "images", RegistryClient()).__enter__()


def test_an_image_is_found_again(layout: Layout) -> None:
    manifest = put_image(layout, A)
    assert layout.get_manifest(A) == manifest
    config = Digest(manifest.parsed()["config"]["digest"])
    assert layout.get_document(A.repository, config) == {}
    assert layout.get_manifest(B) is None
    assert layout.get_manifest(A.pinned(manifest.digest)) is None
    assert len(blobs(layout)) == 3


def test_a_reference_names_the_image_that_was_put_last(layout: Layout) -> None:
    put_image(layout, B)
    old = put_image(layout, A, b"old")
    new = put_image(layout, A, b"new")
    assert layout.get_manifest(A) == new != old
    assert names(layout) == [str(A), str(B)]


def test_what_is_there_is_not_touched(layout: Layout) -> None:
    put_image(layout, A)
    found = [path for path in layout.folder.rglob("*") if path.is_file()]
    for path in found:
        os.utime(path, ns=(1, 1))
    inodes = [path.stat().st_ino for path in found]
    put_image(layout, A)
    assert [path.stat().st_ino for path in found] == inodes
    assert {path.stat().st_mtime_ns for path in found} == {1}


def test_upload_says_whether_it_wrote(layout: Layout) -> None:
    blob = bytes_blob(b"content")
    assert layout.upload(A.repository, blob, mount_from=B.repository, session="any")
    assert not layout.upload(B.repository, blob)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_an_image_that_is_not_whole_is_none(layout: Layout, part: int) -> None:
    put_image(layout, A, b"a layer")
    path = layout.folder / "blobs" / "sha256" / blobs(layout)[part]
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert layout.get_manifest(A) is None
    path.unlink()
    assert layout.get_manifest(A) is None
    put_image(layout, A, b"a layer")
    assert path.read_bytes() == content


def test_a_changed_document_is_refused(layout: Layout) -> None:
    manifest = put_image(layout, A)
    path = layout.folder / "blobs" / "sha256" / manifest.digest.removeprefix("sha256:")
    path.write_bytes(b"x" * len(manifest.raw))
    with pytest.raises(RegistryError, match=r"(?s)is damaged: blobs/sha256.*Remove the folder"):
        layout.get_manifest(A)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"manifests": [1]}', '{"manifests": [{}]}'])
def test_a_damaged_index_is_refused(layout: Layout, text: str) -> None:
    (layout.folder / "index.json").write_text(text, encoding="utf-8")
    with pytest.raises(RegistryError, match=r"is damaged: its index\.json is no index"):
        layout.get_manifest(A)


def test_images_of_others_stay(layout: Layout) -> None:
    theirs = {"mediaType": OCI_INDEX, "digest": DIGEST, "size": 1}
    document = {"schemaVersion": 2, "manifests": [theirs], "annotations": {"by": "them"}}
    path = layout.folder / "index.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    put_image(layout, A)
    after = json.loads(path.read_text(encoding="utf-8"))
    assert theirs in after["manifests"]
    assert (len(after["manifests"]), after["annotations"]) == (2, {"by": "them"})


def test_other_bytes_than_the_digest_names_are_not_kept(layout: Layout) -> None:
    lie = Blob(digest=DIGEST, size=4, open=lambda: io.BytesIO(b"lies"))
    with pytest.raises(RegistryError, match="has another digest"):
        layout.upload(A.repository, lie)
    assert blobs(layout) == []


class Broken(io.BytesIO):
    """Breaks off once its beginning was read."""

    def read(self, _size: int | None = -1, /) -> bytes:
        if self.tell() == 0:
            return super().read(2)
        raise TransientError("broke off", wait=0.001)


def test_a_source_that_breaks_off_is_read_again(layout: Layout) -> None:
    sources: list[IO[bytes]] = [Broken(b"content"), Broken(b"content"), io.BytesIO(b"content")]
    blob = Blob(digest=digest_of(b"content"), size=7, open=lambda: sources.pop(0))
    assert layout.upload(A.repository, blob)
    assert sources == []


def test_a_source_that_always_breaks_off(layout: Layout) -> None:
    opened = []

    def opens() -> IO[bytes]:
        opened.append(1)
        return Broken(b"content")

    with pytest.raises(RegistryError, match="broke off"):
        layout.upload(A.repository, Blob(digest=digest_of(b"content"), size=7, open=opens))
    assert len(opened) == RETRIES + 1
    assert blobs(layout) == []


def test_a_blob_of_several_images_is_read_once(layout: Layout) -> None:
    opened = []

    def opens() -> IO[bytes]:
        opened.append(threading.get_ident())
        time.sleep(0.05)
        return io.BytesIO(b"content")

    blob = Blob(digest=digest_of(b"content"), size=7, open=opens)
    wrote = in_parallel(lambda where: layout.upload(where, blob), [A.repository] * 8, 8)
    assert sorted(wrote) == [False] * 7 + [True]
    assert len(opened) == 1


def test_images_at_the_same_time_are_all_named(tmp_path: Path) -> None:
    """By two runs, which share no lock of Python's."""
    references = [tag(f"r.io/x/a:v{number:02}") for number in range(40)]
    with (
        Layout(tmp_path / "images", RegistryClient()) as one,
        Layout(tmp_path / "images", RegistryClient()) as other,
    ):
        work = [(layout, r) for r in references for layout in (one, other)]
        in_parallel(lambda pair: put_image(pair[0], pair[1], str(pair[1]).encode()), work, 8)
        assert names(one) == [str(reference) for reference in references]
    assert not list((tmp_path / "images").glob(".aicore-build-*"))


def test_a_full_disk(layout: Layout) -> None:
    class Full(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"(?s)No space left on device.*--push-to"):
        layout.upload(A.repository, Blob(digest=DIGEST, size=1, open=Full))


def test_dockers_types_become_those_of_oci() -> None:
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": f"{DOCKER}.container.image.v1+json", "digest": "c", "size": 1},
        "layers": [
            {"mediaType": f"{DOCKER}.image.rootfs.diff.tar.gzip", "digest": "a", "size": 1},
            {"mediaType": f"{DOCKER}.image.rootfs.diff.tar", "digest": "b", "size": 1},
        ],
    }
    raw = json.dumps(document).encode()
    converted = as_oci(Manifest(raw=raw, media_type=DOCKER_MANIFEST))
    assert converted.media_type == OCI_MANIFEST
    assert converted.parsed() == {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": f"{OCI}.image.config.v1+json", "digest": "c", "size": 1},
        "layers": [
            {"mediaType": f"{OCI}.image.layer.v1.tar+gzip", "digest": "a", "size": 1},
            {"mediaType": f"{OCI}.image.layer.v1.tar", "digest": "b", "size": 1},
        ],
    }


def test_an_oci_image_stays_byte_for_byte() -> None:
    manifest = Manifest(raw=b'{ "schemaVersion": 2 }', media_type=OCI_MANIFEST)
    assert as_oci(manifest) is manifest
