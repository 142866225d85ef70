"""Images by a Docker Engine."""

import collections
import re
import tempfile
from collections.abc import Iterable

from aicore_build import engine
from aicore_build.builders import Embedding, Made
from aicore_build.changes import Inputs
from aicore_build.context import BuildContext, prod_context
from aicore_build.dockerfile import base_images
from aicore_build.engine import Event, checked, connected, said
from aicore_build.errors import BuildError, RegistryError
from aicore_build.layer import text_entry, write_tar
from aicore_build.progress import DONE, Reporter
from aicore_build.record import LABEL, render_inputs
from aicore_build.reference import (
    Digest,
    DigestReference,
    TagReference,
    parse_reference,
)
from aicore_build.registry import RegistryClient
from aicore_build.settings import Settings

_SHOWN_LINES = 40


class DockerBuilder:
    """Builds and pushes with the engine that `docker` on this machine would use."""

    def __init__(
        self, settings: Settings, client: RegistryClient, reporter: Reporter, *, push: bool
    ) -> None:
        """Make it, without connecting.

        Args:
            settings: say for which platform and in which network.
            client: asks the registry what it has after a push.
            reporter: is told of progress.
            push: False leaves images in the engine.
        """
        self._platform = settings.platform
        self._network = settings.build_network
        self._registry = client
        self._reporter = reporter
        self._push = push

    def embed(self, embedding: Embedding) -> Made:
        """Build a prod image on top of its dev image, and push it.

        Raises:
            BuildError: the dev image can't be pulled, or the build failed.
            RegistryError: the push was refused or broke off.
        """
        base = str(embedding.base.pinned or embedding.base.image_id)
        context = prod_context(base, embedding.package)
        image_id = self.build(str(embedding.target), context, embedding.inputs)
        return Made(digest=self.publish(image_id, embedding.target), image_id=image_id)

    def identify(self, base: str) -> str:
        """What a base image is now: its digest in a registry, else its ID in the engine.

        Raises:
            RegistryError: the engine hasn't it, and its registry gave no answer.
            BuildError: nobody has it.
        """
        reference = parse_reference(base)
        with connected("answer") as client:
            found = engine.find_image(client, base)
        if found:
            digests = [parse_reference(name) for name in found.get("RepoDigests") or []]
            same = [d.digest for d in digests if isinstance(d, DigestReference)]
            return str(same[0] if same else found["Id"])
        digest = self._registry.find(reference)
        if digest is None:
            raise BuildError(_base_problem(base, "its registry has no such image"))
        return digest

    def build(self, name: str, context: BuildContext, inputs: Inputs) -> str:
        """Build an image that records its inputs; return its ID.

        Raises:
            BuildError: a base image can't be had, or a step of the Dockerfile failed.
        """
        bases = base_images(context.dockerfile)
        users = [self._fetch_base(name, base) for base in bases]
        arguments = {"BASE_USER": users[-1]} if "ARG BASE_USER" in context.dockerfile else {}
        self._reporter.phase(name, "building")
        with tempfile.TemporaryFile(prefix="aicore-build-") as file, context.entries() as entries:
            write_tar(file, (*entries, text_entry(context.dockerfile_name, context.dockerfile)))
            file.seek(0)
            with connected("build") as client:
                events = client.build(
                    fileobj=file,
                    custom_context=True,
                    dockerfile=context.dockerfile_name,
                    buildargs=arguments,
                    labels={LABEL: render_inputs(inputs)},
                    platform=self._platform,
                    network_mode=self._network,
                    rm=True,
                    forcerm=True,
                    decode=True,
                    timeout=engine.SILENCE["build"],
                )
                return self._read_build(name, events)

    def publish(self, image: str, target: TagReference) -> Digest | None:
        """Push an image, or without push only name it; return the digest in the registry.

        Args:
            image: its ID.
            target: where to.

        Raises:
            RegistryError: the push was refused or broke off, or the registry has another image.
        """
        with connected("answer") as client:
            client.tag(image, str(target.repository), target.tag)
        if not self._push:
            self._reporter.phase(str(target), f"{DONE}: built, not pushed")
            return None
        self._reporter.phase(str(target), "pushing")
        try:
            with connected("transfer") as client:
                events = client.push(str(target.repository), target.tag, stream=True, decode=True)
                reported = [event["aux"]["Digest"] for event in checked(events) if "aux" in event]
        except engine.Refused as error:
            raise RegistryError(_push_problem(target, said(error))) from error
        digest = self._registry.find(target)
        if digest is None or (reported and reported[-1] != digest):
            raise RegistryError(
                f"{target} was pushed, but the registry has {digest or 'no such image'} there.\n"
                "Something else pushes to the same tag: run the command again, or use another tag."
            )
        self._reporter.phase(str(target), f"{DONE}: {digest}")
        return digest

    def _fetch_base(self, name: str, base: str) -> str:
        """Make sure that a base image is there, for our platform; return its user."""
        with connected("transfer") as client:
            if (found := self._find(client, base)) is None:
                self._reporter.phase(name, f"pulling {base}")
                try:
                    engine.pull(client, parse_reference(base), self._platform)
                except engine.Refused as error:
                    raise BuildError(_base_problem(base, said(error))) from error
                found = self._find(client, base)
            if found is None:
                raise BuildError(_base_problem(base, f"it has no image for {self._platform}"))
            return str((found.get("Config") or {}).get("User") or "root")

    def _find(self, client: engine.Client, image: str) -> Event | None:
        """An image that the engine has, if it is for our platform."""
        found = engine.find_image(client, image)
        return found if found and engine.is_for(found, self._platform) else None

    def _read_build(self, name: str, events: Iterable[Event]) -> str:
        lines: collections.deque[str] = collections.deque(maxlen=_SHOWN_LINES)
        image = ""
        try:
            for event in checked(events):
                image = str(event.get("aux", {}).get("ID", image))
                for line in event.get("stream", "").splitlines():
                    if line.strip():
                        lines.append(line.rstrip())
                        self._reporter.output(name, line.rstrip())
        except engine.Refused as error:
            tail = "\n".join(f"  {line}" for line in lines)
            raise BuildError(
                f"Could not build {name}: {said(error)}\n"
                f"The last lines of the build:\n{tail}\n{_advice(tail)}"
            ) from error
        if not image:
            raise BuildError(f"Could not build {name}: the engine reported no image.")
        return image


def _push_problem(target: TagReference, reason: str) -> str:
    host = target.repository.host
    advice = "Check the network and the registry's address."
    if re.search(r"denied|unauthorized|authentication|forbidden|no basic auth", reason, re.I):
        advice = (
            f"Log in with `docker login {host}`, and check that the repository exists and that "
            "you may use it."
        )
    return f"Could not push {target}: {reason}.\n{advice}"


def _base_problem(base: str, reason: str) -> str:
    host = parse_reference(base).repository.host
    return (
        f"The base image {base} can't be had: {reason}.\n"
        f"Check its name (the setting base-image), the network, and `docker login {host}`."
    )


def _advice(output: str) -> str:
    if re.search(r"CERTIFICATE_VERIFY_FAILED|SSLError", output):
        return "If a proxy signs its own certificates, give them with the setting ca-bundle."
    if re.search(r"Name or service not known|name resolution|ConnectTimeout|refused", output):
        return "If only the host reaches the index, set build-network to host."
    if re.search(r"No matching distribution|ResolutionImpossible", output):
        return "Check the names and versions in the setting requirements."
    if "externally-managed-environment" in output:
        return "This base image's Python belongs to its system: take python:<version>-slim."
    return "With -v the whole output of the build is shown."
