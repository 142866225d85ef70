import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from aicore_build.embed import (
    check_type,
    choose_platform,
    created_at,
    extend_config,
    extend_manifest,
    is_index,
)
from aicore_build.errors import RegistryError
from aicore_build.layer import Entry, Layer, text_entry, write_layer
from aicore_build.reference import Digest, parse_reference
from aicore_build.registry import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
    digest_of,
)

REFERENCE = parse_reference("r.io/acme/train:v1")
LAYER = Layer(
    path=Path("/nowhere"), digest=Digest("sha256:packed"), diff_id=Digest("sha256:plain"), size=7
)
CONFIG: dict[str, Any] = {
    "architecture": "amd64",
    "container": "0123",
    "container_config": {"Hostname": "builder"},
    "docker_version": "20.10",
    "created": "2020-01-01T00:00:00Z",
    "config": {"Env": ["PATH=/bin", "HOME=/root", "A=b"], "User": "ada", "Labels": {"z": "1"}},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:one"]},
    "history": [{"created_by": "FROM"}],
}


def manifest(media_type: str, **more: object) -> Manifest:
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": "c", "size": 1, "digest": "sha256:config"},
        "layers": [{"mediaType": "l", "size": 1, "digest": "sha256:base"}],
        **more,
    }
    return Manifest(raw=json.dumps(document).encode(), media_type=media_type)


def test_config_gets_home_layer_history_and_labels() -> None:
    before = json.dumps(CONFIG)
    blob = extend_config(CONFIG, LAYER, {"a": "2", "z": "3"}, "2021-01-01T00:00:00Z")
    with blob.open() as file:
        raw = file.read()
    config = json.loads(raw)
    assert (blob.size, blob.digest) == (len(raw), digest_of(raw))
    assert config["config"]["Env"] == ["PATH=/bin", "HOME=/user/home", "A=b"]
    assert config["config"]["WorkingDir"] == "/user/home"
    assert config["config"]["User"] == "ada"
    assert list(config["config"]["Labels"].items()) == [("a", "2"), ("z", "3")]
    assert config["rootfs"]["diff_ids"] == ["sha256:one", "sha256:plain"]
    assert [entry.get("created") for entry in config["history"]] == [None, config["created"]]
    assert not {"container", "container_config", "docker_version"} & set(config)
    assert json.dumps(CONFIG) == before, "the base's config was changed"


@pytest.mark.parametrize("run", [{}, {"Env": None, "Labels": None}, {"Env": ["A=b"]}], ids=str)
def test_config_without_environment_gets_a_home(run: dict[str, Any]) -> None:
    with extend_config({**CONFIG, "config": run}, LAYER, {}, "2021").open() as file:
        config = json.load(file)
    assert config["config"]["Env"][-1] == "HOME=/user/home"


NEEDED = {"PYTHONPATH": "/user/home/.mf_code", "METAFLOW_EXTRACTED_ROOT": "/user/home"}


@pytest.mark.parametrize(
    ("before", "variables", "after"),
    [
        pytest.param([], {}, ["HOME=/user/home"], id="nothing, none needed"),
        pytest.param(
            ["PYTHONPATH=/lib", "HOME=/root"],
            {},
            ["PYTHONPATH=/lib", "HOME=/user/home"],
            id="a path, none needed",
        ),
        pytest.param(
            [],
            NEEDED,
            [
                "HOME=/user/home",
                "PYTHONPATH=/user/home/.mf_code",
                "METAFLOW_EXTRACTED_ROOT=/user/home",
            ],
            id="nothing",
        ),
        pytest.param(
            ["PYTHONPATH=/lib:/more", "A=b=c", "HOME=/root"],
            NEEDED,
            [
                "PYTHONPATH=/user/home/.mf_code:/lib:/more",
                "A=b=c",
                "HOME=/user/home",
                "METAFLOW_EXTRACTED_ROOT=/user/home",
            ],
            id="a path and a home",
        ),
        pytest.param(
            ["PYTHONPATH=", "METAFLOW_EXTRACTED_ROOT=/elsewhere"],
            NEEDED,
            [
                "PYTHONPATH=/user/home/.mf_code",
                "METAFLOW_EXTRACTED_ROOT=/user/home",
                "HOME=/user/home",
            ],
            id="an empty path, another root",
        ),
    ],
)
def test_config_gets_what_the_package_needs(
    before: list[str], variables: dict[str, str], after: list[str]
) -> None:
    base = {**CONFIG, "config": {"Env": before}}
    with extend_config(base, LAYER, {}, "2021", variables).open() as file:
        assert json.load(file)["config"]["Env"] == after
    assert base["config"]["Env"] == before


@pytest.mark.parametrize(
    ("media_type", "family"),
    [
        pytest.param(DOCKER_MANIFEST, "application/vnd.docker.", id="docker"),
        pytest.param(OCI_MANIFEST, "application/vnd.oci.", id="oci"),
    ],
)
def test_manifest_stays_in_its_family(media_type: str, family: str) -> None:
    base = manifest(media_type, annotations={"title": "base", "created": "before"})
    config = extend_config(CONFIG, LAYER, {}, "2021")
    made = extend_manifest(base, config, LAYER, {"created": "now"})
    document = made.parsed()
    assert made.media_type == document["mediaType"] == media_type
    assert document["config"]["mediaType"].startswith(family)
    assert document["config"]["digest"] == config.digest
    assert [layer["digest"] for layer in document["layers"]] == ["sha256:base", "sha256:packed"]
    assert document["layers"][-1]["mediaType"].startswith(family)
    expected = "now" if media_type == OCI_MANIFEST else "before"
    assert document["annotations"] == {"title": "base", "created": expected}


def test_platform_of_an_index() -> None:
    platforms = [
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
        {"os": "linux", "architecture": "amd64"},
    ]
    entries = [{"digest": f"sha256:{n}", "platform": p} for n, p in enumerate(platforms)]
    index = manifest(OCI_INDEX, manifests=entries)
    assert choose_platform(index, "linux/amd64", REFERENCE) == "sha256:1"
    assert choose_platform(index, "linux/arm64/v8", REFERENCE) == "sha256:0"
    with pytest.raises(RegistryError, match="only for linux/amd64, linux/arm64"):
        choose_platform(index, "linux/s390x", REFERENCE)


@pytest.mark.parametrize("media_type", [DOCKER_INDEX, OCI_INDEX])
def test_an_index_is_told_from_an_image(media_type: str) -> None:
    assert is_index(manifest(media_type))
    assert not is_index(manifest(OCI_MANIFEST))


@pytest.mark.parametrize(
    "media_type", ["application/vnd.docker.distribution.manifest.v1+prettyjws", "", OCI_INDEX]
)
def test_what_is_no_image_is_refused(media_type: str) -> None:
    check_type(manifest(DOCKER_MANIFEST), REFERENCE)
    with pytest.raises(RegistryError, match="can't be embedded into"):
        check_type(manifest(media_type), REFERENCE)


def test_time_of_creation() -> None:
    assert created_at({}) == "2019-12-03T08:00:00Z"
    assert created_at({"SOURCE_DATE_EPOCH": "0"}) == "1970-01-01T00:00:00Z"
    with pytest.raises(RegistryError, match="SOURCE_DATE_EPOCH"):
        created_at({"SOURCE_DATE_EPOCH": "yesterday"})


def test_layer_is_a_tar_whose_hashes_are_told(tmp_path: Path) -> None:
    large = bytes(range(256)) * 40_000  # more than one block
    entries = [text_entry("a/b", "b"), text_entry("large", large)]
    entries.append(Entry(name="a", mode=0o777, open=None))
    layer = write_layer(tmp_path / "layer", entries)
    packed = layer.path.read_bytes()
    plain = gzip.decompress(packed)
    assert (layer.size, layer.digest) == (len(packed), digest_of(packed))
    assert layer.diff_id == digest_of(plain)
    assert packed.count(b"\x1f\x8b\x08") > 1, "one block only"
    with tarfile.open(layer.path) as tar:
        assert [(m.name, oct(m.mode)) for m in tar] == [
            ("a", "0o777"),
            ("a/b", "0o644"),
            ("large", "0o644"),
        ]
    again = write_layer(tmp_path / "again", reversed(entries))
    assert again.digest == layer.digest


def test_layer_has_the_digest_that_it_has_everywhere(tmp_path: Path) -> None:
    """Of libdeflate's output: another version of it needs another layout version."""
    layer = write_layer(tmp_path / "layer", [text_entry("flow.py", "print()\n" * 1000)])
    assert layer.digest == (
        "sha256:db0bdf5f8475006aaa3f515c7122211830befbaf6395fd43dfe30a0e74075fe8"
    )
