"""The examples, copied to a folder of their own, with the sandbox around them."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import docker
import docker.errors

from tests.sandbox import Sandbox

EXAMPLES = Path(__file__).parent.parent / "examples"
TOOL = Path(sys.executable).with_name("aicore-build")
PRIVATE = ("AICORE_BUILD_", "METAFLOW_", "AWS_ACCESS_KEY", "AWS_SECRET", "AWS_PROFILE")
"""Variables of the person's own that would change what happens begin with one of these."""


@dataclass(frozen=True, slots=True)
class Workbench:
    """A folder with a copy of the examples, and images and S3 objects under a name of its own."""

    sandbox: Sandbox
    folder: Path
    name: str

    @classmethod
    def prepare(cls, sandbox: Sandbox, folder: Path, name: str) -> "Workbench":
        """Copy the examples; what they left when somebody ran them in place stays there."""
        left = shutil.ignore_patterns(".metaflow", "__pycache__", "*.json")
        shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True, ignore=left)
        return cls(sandbox, folder, name)

    @property
    def environment(self) -> dict[str, str]:
        """For subprocesses: of the person's own settings for Metaflow and S3, none."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(PRIVATE)}
        return {
            **own,
            **self.sandbox.environment,
            "METAFLOW_DATASTORE_SYSROOT_S3": f"s3://{self.sandbox.bucket}/{self.name}",
            "METAFLOW_HOME": str(self.folder / ".metaflowconfig"),
            "REGISTRY": f"{self.sandbox.registry}/{self.name}",
        }

    def engine(self) -> docker.DockerClient:
        return docker.from_env(environment=self.environment)

    def build(self, example: str, *arguments: str) -> str:
        """Run aicore-build in an example's folder; its progress is shown, its stdout returned.

        Raises:
            CalledProcessError: it failed.
        """
        return self._run(self.folder / example, *arguments)

    def _run(self, folder: Path, *arguments: str | Path) -> str:
        return subprocess.run(
            [TOOL, *arguments],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    def prod(self, example: str) -> dict[str, Any]:
        """Run `aicore-build prod --json` for an example; return the document."""
        document: dict[str, Any] = json.loads(
            self.build(example, "prod", "--flow", f"{example}.py", "--json")
        )
        return document

    def delete_code_packages(self, address: str) -> int:
        """Delete all code packages of a flow from S3, given the address of one; count them."""
        found = urlsplit(address)
        store = boto3.resource(
            "s3",
            endpoint_url=self.sandbox.s3_endpoint,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.environment["AWS_DEFAULT_REGION"],
        )
        packages, separator, _ = found.path.lstrip("/").rpartition("/data/")
        objects = store.Bucket(found.netloc).objects.filter(Prefix=packages + separator)
        return sum(len(page.get("Deleted", [])) for page in objects.delete())

    def verify(self, workflow_template: Path, *arguments: str) -> dict[str, Any]:
        """Run a workflow template's steps; the environment leads them to the sandbox's S3.

        Raises:
            CalledProcessError: `verify` says that it would fail on AI Core.
        """
        done = self._run(
            workflow_template.parent, "verify", workflow_template, "--json", *arguments
        )
        document: dict[str, Any] = json.loads(done)
        return document

    def remove_images(self, tag: str = "") -> None:
        """Remove the images of this name from the engine; the registry keeps them.

        Args:
            tag: a regular expression for what is in one of an image's references.
        """
        repository = f"{self.environment['REGISTRY']}/"
        with contextlib.closing(self.engine()) as client:
            for image in client.images.list():
                references = [*image.tags, *image.attrs.get("RepoDigests", [])]
                ours = [name for name in references if name.startswith(repository)]
                if any(re.search(tag, name) for name in ours):
                    for name in ours:
                        # With the last tag, the digests go as well.
                        with contextlib.suppress(docker.errors.ImageNotFound):
                            client.images.remove(name)
