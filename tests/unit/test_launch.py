import io
from pathlib import Path

import pytest

from aicore_build.flows_python import launch


def test_what_would_be_uploaded_is_written_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "FOLDER", tmp_path, raising=False)
    plain, with_metadata = io.BytesIO(b"one"), (io.BytesIO(b"two"), {"cas_raw": True})
    given = iter([("Flow/data/ab/ab01", plain), ("Flow/data/cd/cd02", with_metadata)])
    launch.save_bytes(None, given, overwrite=True, len_hint=2)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {"ab01": b"one", "cd02": b"two"}


def test_nothing_is_there_yet() -> None:
    assert launch.is_file(None, iter(["a", "b"])) == [False, False]
