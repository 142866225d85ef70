from pathlib import Path

import pytest

from aicore_build.context import BuildContext, dev_context, prod_context
from aicore_build.errors import SettingsError
from aicore_build.layer import Entry
from aicore_build.package import sums_name
from aicore_build.plan import Environment
from aicore_build.settings import Settings
from tests.unit.make import make_package, sha1, sums

PLAIN = Environment(base_image="python:3.11-slim", requirements=("awscli", "torch==2.4"))


def content(entry: Entry) -> bytes | None:
    if entry.open is None:
        return None
    with entry.open() as file:
        return file.read()


def files(context: BuildContext) -> dict[str, tuple[int, bytes | None]]:
    """Mode and content by name."""
    found = {}
    with context.entries() as entries:
        for entry in entries:
            found[entry.name] = (entry.mode, content(entry))
            assert entry.size == len(content(entry) or b"")
    return found


def test_a_dev_image_has_its_requirements() -> None:
    context = dev_context(PLAIN, Settings())
    assert context.dockerfile.startswith("FROM python:3.11-slim\n")
    assert files(context) == {"requirements.txt": (0o644, b"awscli\ntorch==2.4\n")}
    assert (context.dockerfile_name, context.private_files) == ("Dockerfile", ())


def test_private_files_are_in_the_context_and_known_as_private(tmp_path: Path) -> None:
    (tmp_path / "my-pip.conf").write_text("[global]", encoding="utf-8")
    (tmp_path / "my-ca.pem").write_text("-----BEGIN", encoding="utf-8")
    settings = Settings(pip_config=tmp_path / "my-pip.conf", ca_bundle=tmp_path / "my-ca.pem")
    context = dev_context(PLAIN, settings)
    assert context.private_files == ("pip.conf", "ca-bundle.pem")
    assert "COPY requirements.txt pip.conf ca-bundle.pem /run/aicore-build/" in context.dockerfile
    found = files(context)
    assert found["pip.conf"] == (0o600, b"[global]")
    assert found["ca-bundle.pem"] == (0o600, b"-----BEGIN")
    assert "[global]" not in context.dockerfile


def own(folder: Path, name: str = "Dockerfile") -> BuildContext:
    environment = Environment(base_image="", dockerfile=folder / name)
    return dev_context(environment, Settings(ca_bundle=folder / "never read"))


def test_the_users_own_dockerfile_has_its_folder_as_context(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile.gpu").write_text("FROM python\nCOPY . /\n", encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "data.txt").write_text("data", encoding="utf-8")
    (tmp_path / "run.sh").write_text("true", encoding="utf-8")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "sub" / "data.txt").chmod(0o640)
    context = own(tmp_path, "Dockerfile.gpu")
    assert context.dockerfile == "FROM python\nCOPY . /\n"
    assert context.dockerfile_name == "Dockerfile.gpu"
    assert context.private_files == ()
    found = files(context)
    assert found["sub/data.txt"] == (0o640, b"data")
    assert found["run.sh"] == (0o755, b"true")


def test_dockerignore_is_honoured(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\n", encoding="utf-8")
    ignored = "# comment\n\n*.secret\nvenv\n!keep.secret\n"
    (tmp_path / ".dockerignore").write_text(ignored, encoding="utf-8")
    (tmp_path / "venv" / "lib").mkdir(parents=True)
    for name in ("a.secret", "keep.secret", "venv/lib/x.py", "kept.py"):
        (tmp_path / name).touch()
    found = set(files(own(tmp_path))) - {"Dockerfile", ".dockerignore"}
    assert found == {"keep.secret", "kept.py"}


def test_a_dockerfile_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_bytes(b"FROM \xff\n")
    with pytest.raises(SettingsError, match="Dockerfile can't be read"):
        own(tmp_path)
    with pytest.raises(SettingsError, match="No such file"):
        own(tmp_path, "gone")


def test_a_prod_image_has_the_package_extracted(tmp_path: Path) -> None:
    package = make_package(tmp_path / "job.tar")
    context = prod_context("python@sha256:12", package)
    assert context.dockerfile.startswith("FROM python@sha256:12\nCOPY user /user\n")
    assert files(context) == {
        "user/home/flow.py": (0o644, b"flow.py"),
        f"user/{sums_name(sha1(package))}": (0o644, sums("flow.py")),
        "user/home": (0o777, None),
        "user/home/.metaflow": (0o777, None),
    }


def test_a_prod_image_of_the_newer_layout_says_where_metaflow_is(tmp_path: Path) -> None:
    package = make_package(tmp_path / "job.tar", ".mf_code/metaflow/__init__.py")
    context = prod_context("python@sha256:12", package)
    assert "ENV PYTHONPATH=/user/home/.mf_code$" in context.dockerfile
    assert "user/home/.mf_code/metaflow/__init__.py" in files(context)


def test_empty_folders_and_links_of_ones_own_context_are_there(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM x\nCOPY . /all\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").touch()
    (tmp_path / "link").symlink_to("data")
    environment = Environment(base_image="", dockerfile=tmp_path / "Dockerfile")
    with dev_context(environment, Settings()).entries() as entries:
        found = {entry.name: entry.link for entry in entries}
    assert found == {"Dockerfile": "", "empty": "", "data": "", "data/x": "", "link": "data"}
