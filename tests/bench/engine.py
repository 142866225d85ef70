"""What the Docker Engine has of a base image, and how it forgets it."""

from dataclasses import dataclass
from typing import Any

import docker

from tests.bench.bases import Base
from tests.bench.timing import note


@dataclass(frozen=True, slots=True)
class Engine:
    client: docker.DockerClient

    def has(self, base: Base) -> bool:
        return any(str(base.pinned) in (i["RepoDigests"] or ()) for i in self._images())

    def forget(self, base: Base) -> None:
        """Remove a base image, and what was built on it; others are left alone.

        The layers are looked for, since anything else that still had them would spare the engine
        a part of the next pull.
        """
        if not self.has(base):
            return
        before = self._layer_bytes()
        for image in sorted(self._images(), key=lambda image: -int(image["Created"])):
            names = [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())]
            if any(
                name.startswith((f"{base.repository}:", f"{base.repository}@")) for name in names
            ):
                self.client.api.remove_image(image["Id"], force=True)
        freed = before - self._layer_bytes()
        if freed < 0.9 * base.size:
            note(f"WARNING: of {base.pinned}, {freed / 1e6:.0f} of {base.size / 1e6:.0f} MB went.")

    def build_cache(self) -> set[str]:
        """What BuildKit keeps, by ID."""
        return {record["ID"] for record in self.client.df()["BuildCache"] or ()}

    def prune(self, kept: set[str]) -> None:
        """Remove what BuildKit keeps, but for some."""
        while new := self.build_cache() - kept:
            for record in new:  # one at a time: the engine takes one ID
                filters: Any = {"id": [record]}  # which types-docker doesn't know
                self.client.api.prune_builds(filters=filters, all=True)
            if new == self.build_cache() - kept:
                note(f"WARNING: {len(new)} records of BuildKit's can't be pruned.")
                return

    def _images(self) -> list[dict[str, Any]]:
        images: list[dict[str, Any]] = self.client.api.images()
        return images

    def _layer_bytes(self) -> int:
        return int(self.client.df()["LayersSize"])
