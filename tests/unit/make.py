"""What several unit tests start from."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from aicore_build.flow import Flow, Parameter, Step, parse_flow
from aicore_build.lock import Lock, LockedImage, file_sha256
from aicore_build.reference import Digest
from aicore_build.workflow import Json

DATA = Path(__file__).parent / "data"
GOLDEN = Path(__file__).parent / "golden"

CPU = "registry.example.com/acme/sweep-cpu:v1"
GPU = "registry.example.com/acme/sweep-gpu:v1"

DIGEST = Digest(f"sha256:{'0123456789abcdef' * 4}")
OTHER_DIGEST = Digest(f"sha256:{'fedcba9876543210' * 4}")
SHA1 = "b93e36453c02823ac0bb5fb017381d766c62c054"


def recorded(name: str) -> Json:
    """What the generator, or aicore-inspect, wrote for data/sweepflow.py."""
    return cast("Json", json.loads((DATA / f"{name}.json").read_text(encoding="utf-8")))


def sweep_flow() -> Flow:
    return parse_flow(recorded("inspected"), Path("/flows/sweepflow.py"), "/venv/bin/python")


def make_flow(
    *steps: Step,
    images: Mapping[str, str | None] | None = None,
    script: Path = Path("/flows/trainflow.py"),
    plugin_version: str | None = "1.1.22",
    parameters: tuple[Parameter, ...] = (),
) -> Flow:
    """A flow of steps, or of an image for each step's name."""
    return Flow(
        name="TrainFlow",
        script=script,
        python="/venv/bin/python",
        python_version="3.11.7",
        metaflow_version="2.12.25",
        plugin_version=plugin_version,
        datastore_root="s3://bucket/metaflow",
        s3_endpoint=None,
        parameters=parameters,
        steps=(*steps, *(make_step(name, image) for name, image in (images or {}).items())),
    )


def make_step(name: str, image: str | None = CPU, **decorators: Mapping[str, Any]) -> Step:
    return Step(name=name, image=image, decorators=decorators)


def a_lock(template: Path, *images: LockedImage) -> Lock:
    """A lock of a flow, of a workflow template that is there."""
    return Lock(
        flow="TrainFlow",
        script="trainflow.py",
        images=images,
        package_sha1=SHA1,
        package_sha256="",
        generator="sap-ai-core-metaflow",
        generator_version="1.1.22",
        metaflow="2.12.25",
        python="3.11.7",
        tool="0.1.0",
        template=template.name,
        template_sha256=file_sha256(template),
    )


def make_package(
    path: Path, *members: tarfile.TarInfo | str, script: str | None = "flow.py"
) -> Path:
    """Write a compressed tar as Metaflow does; a member's content is its own name."""
    with tarfile.open(path, mode="w:gz", compresslevel=3) as tar:
        for member in (*members, *filter(None, [script])):
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            content = info.name.encode() if info.isreg() else b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sha1(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def sums(*names: str) -> bytes:
    """What a package of `make_package` has for hashes."""
    lines = (f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in names)
    return "".join(lines).encode()
