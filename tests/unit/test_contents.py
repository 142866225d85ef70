import json

from aicore_build.contents import Contents
from aicore_build.inspection import inspect_package
from aicore_build.layer import text_entry
from tests.unit.make import SHA1, make_flow

PASSWORD = "Tr0ub4dor"
CONTENTS = Contents(
    flow=make_flow(),
    sha1=SHA1,
    size=300,
    inspection=inspect_package(
        [
            text_entry("flow.py", "x" * 2000, mode=0o600),
            text_entry("conf.py", f"\npostgres://ada:{PASSWORD}@db.acme.io/x"),
            text_entry("data.csv", "1,2"),
            text_entry("venv/lib/python3.11/site-packages/a.py", "a"),
            text_entry(".env", "A=1"),
            text_entry("metaflow/a.py", "a"),
        ]
    ),
    allow_secrets=(".env",),
)


def test_the_contents_as_json() -> None:
    document = json.loads(json.dumps(CONTENTS.as_json()))
    assert document["total"] == {"files": 6, "size": 2046}
    assert document["metaflow"] == {"files": 1, "size": 1}
    assert document["files"][0] == {"name": "flow.py", "size": 2000, "mode": "0600"}
    assert document["groups"] == [
        {"kind": "data", "path": "*.csv", "files": 1, "size": 3},
        {"kind": "virtual environment", "path": "venv/", "files": 1, "size": 1},
    ]
    assert document["secrets"] == [
        {"file": ".env", "line": None, "kind": "environment file", "allowed": True},
        {"file": "conf.py", "line": 2, "kind": "password in a URL", "allowed": False},
    ]
    assert document["unreadable"] == ["flow.py"]


def test_the_contents_for_people() -> None:
    text = CONTENTS.as_text(wide=True)
    assert "venv/ (1 file)" in text
    assert "Metaflow's own (1 file)" in text
    assert "  conf.py, line 2: password in a URL\n" in text
    assert "  .env: environment file (allowed)\n" in text
    assert text.endswith("  flow.py\n")
    assert PASSWORD not in text + json.dumps(CONTENTS.as_json())
