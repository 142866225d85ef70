"""An image's manifest and config → those of the same image with one more layer. Pure.

https://github.com/opencontainers/image-spec; Docker's schema2 differs in media types only.
"""

import copy
import datetime
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from aicore_build.dockerfile import PACKAGE_HOME
from aicore_build.errors import RegistryError
from aicore_build.layer import MEMBER_TIME, Layer
from aicore_build.reference import Digest, ImageReference
from aicore_build.registry import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Blob,
    Manifest,
    bytes_blob,
)

Json = dict[str, Any]

_LAYER_TYPES: Final = {
    DOCKER_MANIFEST: "application/vnd.docker.image.rootfs.diff.tar.gzip",
    OCI_MANIFEST: "application/vnd.oci.image.layer.v1.tar+gzip",
}
_CONFIG_TYPES: Final = {
    DOCKER_MANIFEST: "application/vnd.docker.container.image.v1+json",
    OCI_MANIFEST: "application/vnd.oci.image.config.v1+json",
}

_OF_THE_BUILDER = ("container", "container_config", "docker_version")
"""Keys of a config that tell of the machine that built the base image."""

_OCI_TYPES: Final = {
    _LAYER_TYPES[DOCKER_MANIFEST]: _LAYER_TYPES[OCI_MANIFEST],
    _CONFIG_TYPES[DOCKER_MANIFEST]: _CONFIG_TYPES[OCI_MANIFEST],
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
}


def choose_platform(index: Manifest, platform: str, reference: ImageReference) -> Digest:
    """The digest of an index's image for a platform such as `linux/amd64`.

    Raises:
        RegistryError: it has none.
    """
    system, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    found = index.parsed().get("manifests", [])
    for entry in found:
        has = entry.get("platform", {})
        if (has.get("os"), has.get("architecture")) == (system, architecture) and (
            not variant or has.get("variant") == variant
        ):
            return Digest(entry["digest"])
    names = ", ".join(
        sorted("{os}/{architecture}".format(**e["platform"]) for e in found if "platform" in e)
    )
    raise RegistryError(
        f"{reference} has no image for {platform}, only for {names or 'none'}.\n"
        "Build it for this platform, or change the setting platform."
    )


def is_index(manifest: Manifest) -> bool:
    """Whether it lists images for several platforms."""
    return manifest.media_type in {DOCKER_INDEX, OCI_INDEX}


def check_type(manifest: Manifest, reference: ImageReference) -> None:
    """Refuse what is no image.

    Raises:
        RegistryError: schema 1 of Docker, or something that is not an image.
    """
    if manifest.media_type not in _LAYER_TYPES:
        raise RegistryError(
            f"The manifest of {reference} is a {manifest.media_type or 'thing without a type'}, "
            "which can't be embedded into.\n"
            "Push the image again with a current Docker, or use --builder docker."
        )


def as_oci(manifest: Manifest) -> Manifest:
    """The same image as OCI writes it: in an image layout skopeo and umoci read no other."""
    if manifest.media_type != DOCKER_MANIFEST:
        return manifest
    document = manifest.parsed()
    document["mediaType"] = OCI_MANIFEST
    for descriptor in (document["config"], *document["layers"]):
        known = descriptor["mediaType"]
        descriptor["mediaType"] = _OCI_TYPES.get(known, known)
    return Manifest(raw=_render(document), media_type=OCI_MANIFEST)


def extend_config(
    base: Json,
    layer: Layer,
    labels: Mapping[str, str],
    created: str,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Blob:
    """The config of an image with the code package's layer on top.

    Args:
        base: the config of the image below.
        layer: holds the code package in its home.
        labels: are added, or replace those of the image below.
        created: RFC 3339.
        variables: what the code package needs in the environment; a PYTHONPATH goes before that
            of the image below.

    Raises:
        RegistryError: the image below is none.
    """
    if not isinstance(base.get("rootfs"), dict):
        raise RegistryError(
            "The dev image has a config without layers: it is no container image.\n"
            "Check the reference at the step's @kubernetes."
        )
    config = {key: copy.deepcopy(v) for key, v in base.items() if key not in _OF_THE_BUILDER}
    home = f"/{PACKAGE_HOME}"
    run: Json = config.setdefault("config", {})
    run["Env"] = _with_variables(run.get("Env") or [], {"HOME": home, **variables})
    run["WorkingDir"] = home
    run["Labels"] = dict(sorted({**(run.get("Labels") or {}), **labels}.items()))
    config["created"] = created
    config["rootfs"]["diff_ids"].append(layer.diff_id)
    config.setdefault("history", []).append(
        {"created": created, "created_by": f"aicore-build: code package in {home}"}
    )
    return bytes_blob(_render(config))


def extend_manifest(
    base: Manifest, config: Blob, layer: Layer, annotations: Mapping[str, str]
) -> Manifest:
    """The manifest of an image with one more layer, of the family that the base's is of."""
    document = base.parsed()
    document["config"] = {
        "mediaType": _CONFIG_TYPES[base.media_type],
        "size": config.size,
        "digest": config.digest,
    }
    document["layers"].append(
        {
            "mediaType": _LAYER_TYPES[base.media_type],
            "size": layer.size,
            "digest": layer.digest,
        }
    )
    if base.media_type == OCI_MANIFEST:
        merged = {**document.get("annotations", {}), **annotations}
        document["annotations"] = dict(sorted(merged.items()))
    return Manifest(raw=_render(document), media_type=base.media_type)


def created_at(environment: Mapping[str, str]) -> str:
    """When an image says that it was made: SOURCE_DATE_EPOCH, else always the same.

    Raises:
        RegistryError: SOURCE_DATE_EPOCH is not a number of seconds.
    """
    epoch = environment.get("SOURCE_DATE_EPOCH") or str(MEMBER_TIME)
    if not epoch.isdecimal():
        raise RegistryError(f"SOURCE_DATE_EPOCH is {epoch!r}, but has to be a number of seconds.")
    moment = datetime.datetime.fromtimestamp(int(epoch), tz=datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _with_variables(before: list[str], added: Mapping[str, str]) -> list[str]:
    """In the place of those that are there, else behind them, as a Dockerfile's ENV does it."""
    found = dict(variable.partition("=")[::2] for variable in before)
    path = ":".join(filter(None, (added.get("PYTHONPATH"), found.get("PYTHONPATH"))))
    merged = {**found, **added, **({"PYTHONPATH": path} if path else {})}
    return [f"{name}={value}" for name, value in merged.items()]


def _render(document: Json) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
