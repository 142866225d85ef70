"""No credential gets into an image, its history, a log or the workflow template."""

import gzip
import zipfile
from pathlib import Path

import docker
import requests

from tests.integration.conftest import Project
from tests.integration.servers import private_index

INDEX_PASSWORD = "planted-index-password"
AWS_SECRET = "planted-aws-secret"
CA_MARK = "planted-certificate-comment"


def test_credentials_reach_pip_and_nothing_else(
    project: Project, engine: docker.DockerClient, tmp_path: Path
) -> None:
    _write_library(tmp_path / "index")
    with private_index(tmp_path / "index", "ada", INDEX_PASSWORD) as address:
        pip_config = tmp_path / "pip.conf"
        pip_config.write_text(
            f"[global]\nextra-index-url = http://ada:{INDEX_PASSWORD}@{address}/simple/\n"
        )
        bundle = tmp_path / "bundle.pem"
        machines_own = Path(project.environment["AICORE_BUILD_CA_BUNDLE"]).read_text()
        bundle.write_text(f"# {CA_MARK}\n{machines_own}")
        project.environment["AICORE_BUILD_CA_BUNDLE"] = str(bundle)
        project.environment["AICORE_BUILD_PIP_CONFIG"] = str(pip_config)
        project.environment["AWS_SECRET_ACCESS_KEY"] = AWS_SECRET
        project.write_flow(project.image("a:v1"))
        project.write_settings('requirements = ["planted-library"]', quick=False)

        done = project.run("prod", "-v")

    assert done.returncode == 0, done.stderr
    template = (project.folder / "flow.json").read_text()
    references = [project.image("a:v1"), done.stdout.split()[0]]
    uses = ["python", "-c", "import planted_library; print(planted_library.VALUE)"]
    for reference in references:
        assert engine.containers.run(reference, uses, remove=True) == b"from the private index\n"
        seen = [*_pushed(reference), repr(engine.images.get(reference).attrs).encode()]
        seen += [repr(engine.images.get(reference).history()).encode()]
        assert not [s for s in _secrets() for content in seen if s.encode() in content]
    assert not [s for s in _secrets() if s in template + done.stdout + done.stderr]


def test_the_search_finds_what_is_there(project: Project) -> None:
    (project.folder / "key").write_text(INDEX_PASSWORD)
    project.write_flow(project.image("a:v1"))
    project.write_settings()
    (project.folder / "Quick.Dockerfile").write_text("FROM python:3.11-slim\nCOPY key /key\n")
    project.succeed("dev", "--no-template")

    found = [INDEX_PASSWORD.encode() in content for content in _pushed(project.image("a:v1"))]

    assert any(found)


def _secrets() -> tuple[str, ...]:
    return (INDEX_PASSWORD, AWS_SECRET, CA_MARK)


def _pushed(reference: str) -> list[bytes]:
    """Manifest, config and uncompressed layers of an image, as the registry has them."""
    host, _, rest = reference.partition("@")[0].partition("/")
    path, _, tag = rest.rpartition(":")
    registry = f"http://{host}/v2/{path}"
    accept = "application/vnd.docker.distribution.manifest.v2+json"
    answer = requests.get(f"{registry}/manifests/{tag}", headers={"Accept": accept}, timeout=10)
    answer.raise_for_status()
    manifest = answer.json()
    found = [answer.content, _blob(registry, manifest["config"]["digest"])]
    return found + [
        gzip.decompress(_blob(registry, layer["digest"])) for layer in manifest["layers"]
    ]


def _blob(registry: str, digest: str) -> bytes:
    answer = requests.get(f"{registry}/blobs/{digest}", timeout=60)
    answer.raise_for_status()
    return answer.content


def _write_library(index: Path) -> None:
    """A wheel that is nowhere else than in this index."""
    folder = index / "simple" / "planted-library"
    folder.mkdir(parents=True)
    info = "planted_library-1.0.dist-info"
    name = "planted_library-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("planted_library.py", 'VALUE = "from the private index"\n')
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: planted-library\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{name}">{name}</a>')
