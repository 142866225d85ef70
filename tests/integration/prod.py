"""A project with a real prod image, broken images made from it, and `verify` run on templates."""

import contextlib
import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from aicore_build.lock import lock_path
from aicore_build.reference import TagReference, parse_reference
from aicore_build.registry import Manifest, RegistryClient, bytes_blob
from aicore_build.workflow import Json
from tests.integration.conftest import Project
from tests.unit.workflows import IMAGE, a_document


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What `verify --json` said."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def report(self) -> dict[str, Any]:
        """The document; that it can't be read is a failed test, which shows the error."""
        assert self.stdout, self.stderr
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    @property
    def problems(self) -> dict[str, str]:
        """By the check's name, what is wrong with the images."""
        return {
            check["name"]: check["problem"]
            for image in self.report["images"]
            for check in image["checks"]
            if check["problem"]
        }

    @property
    def fixes(self) -> dict[str, str]:
        """By the check's name, what to do about it; nothing where there is no problem."""
        checks = [check for image in self.report["images"] for check in image["checks"]]
        return {check["name"]: check["fix"] for check in checks if check["fix"]}

    @property
    def cause(self) -> str:
        """Of the first failure."""
        return str((self.report["failure"] or {}).get("cause"))

    def output(self, name: str) -> str:
        """What a step said in its last attempt."""
        return str([run["output"] for run in self.report["runs"] if run["name"] == name][-1])


@dataclass(frozen=True, kw_only=True)
class Prod:
    """A project after `prod`."""

    project: Project
    template: Path
    image: str
    """Of all steps, with its digest."""

    dev_image: str
    """What it was made from, with its digest."""

    @classmethod
    def make(cls, project: Project) -> "Prod":
        """Build a dev image with all libraries, and the prod image from it."""
        project.write_flow(project.image("a:v1"))
        project.write_settings('resource-plan = "starter"', quick=False)
        made = json.loads(project.succeed("prod", "--json"))
        [image] = made["images"]
        return cls(
            project=project,
            template=Path(made["workflow_template"]["path"]),
            image=image["pinned"],
            dev_image=image["base_image"],
        )

    @property
    def document(self) -> Json:
        """The workflow template, to be changed."""
        document: Json = json.loads(self.template.read_text())
        return document

    def with_image(self, image: str) -> Json:
        """The workflow template with another image for its steps."""
        document: Json = json.loads(self.template.read_text().replace(self.image, image))
        return document

    def small(self, *templates: Json, image: str | None = None, **spec: object) -> Json:
        """A workflow template of one's own; the first template is its entrypoint.

        Args:
            templates: as tests.unit.workflows makes them.
            image: of the steps; default: the dev image.
            spec: what the specification has beside the templates.
        """
        document = {**self.document, "spec": a_document(*templates, **spec)["spec"]}
        text = json.dumps(document).replace(IMAGE, image or self.dev_image)
        small: Json = json.loads(text)
        return small

    def lock(self) -> dict[str, Any]:
        """What lies beside the workflow template, to be changed."""
        lock: dict[str, Any] = json.loads(lock_path(self.template).read_text())
        return lock

    def derive(self, name: str, instructions: str, base: str | None = None) -> str:
        """Build an image on top of the prod image, or of another, and push it.

        Args:
            name: its repository and tag, below the project's own.
            instructions: of a Dockerfile.
            base: what it is built on.

        Returns:
            Its reference with the digest.
        """
        target = self._tag(name)
        text = f"FROM {(base or self.image).partition('@')[0]}\nUSER root\n{instructions}\n"
        with contextlib.closing(self.engine()) as client:
            client.images.build(fileobj=io.BytesIO(text.encode()), tag=str(target), rm=True)
            said = client.api.push(str(target.repository), target.tag, stream=True, decode=True)
            errors = [event["error"] for event in said if "error" in event]
        assert not errors
        digest = RegistryClient().find(target)
        assert digest
        return str(target.pinned(digest))

    def copy(self, name: str, *, architecture: str = "amd64") -> str:
        """Put the prod image into the registry again, as if built for that processor."""
        client, source, target = RegistryClient(), parse_reference(self.image), self._tag(name)
        manifest = client.get_manifest(source)
        assert manifest
        document = manifest.parsed()
        config = client.get_document(source.repository, document["config"]["digest"])
        blob = bytes_blob(json.dumps({**config, "architecture": architecture}).encode())
        client.upload(target.repository, blob)
        document["config"] |= {"digest": blob.digest, "size": blob.size}
        copied = Manifest(raw=json.dumps(document).encode(), media_type=manifest.media_type)
        client.put_manifest(target, copied)
        return str(target.pinned(copied.digest))

    def engine(self) -> docker.DockerClient:
        """The engine that `verify` uses."""
        return docker.from_env(environment=self.project.environment)

    def verify(
        self,
        folder: Path,
        document: Json,
        *options: str,
        environment: Mapping[str, str] | None = None,
        lock: Mapping[str, Any] | None = None,
    ) -> Verified:
        """Run `verify --json` on a workflow template, which is written to the folder."""
        path = folder / self.template.name
        path.write_text(json.dumps(document))
        if lock:
            lock_path(path).write_text(json.dumps(lock))
        began = time.monotonic()
        done = self.project.run("verify", str(path), "--json", *options, environment=environment)
        return Verified(
            exit_code=done.returncode,
            stdout=done.stdout,
            stderr=done.stderr,
            seconds=time.monotonic() - began,
        )

    def _tag(self, name: str) -> TagReference:
        target = parse_reference(self.project.image(name))
        assert isinstance(target, TagReference)
        return target
