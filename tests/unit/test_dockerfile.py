import pytest

from aicore_build.dockerfile import render_dev_dockerfile, render_prod_dockerfile
from aicore_build.plan import Environment
from tests.unit.make import DIGEST, GOLDEN

SLIM = "python:3.11-slim"


@pytest.mark.parametrize(
    ("name", "apt_packages", "private_files"),
    [
        pytest.param("dev-plain", (), (), id="plain"),
        pytest.param("dev-apt", ("git", "libgomp1=12.2.0-14"), (), id="apt"),
        pytest.param("dev-private", (), ("pip.conf", "ca-bundle.pem"), id="private files"),
        pytest.param("dev-ca-bundle", ("git",), ("ca-bundle.pem",), id="apt and one private file"),
    ],
)
def test_dev(name: str, apt_packages: tuple[str, ...], private_files: tuple[str, ...]) -> None:
    environment = Environment(base_image=SLIM, requirements=("torch",), apt_packages=apt_packages)
    expected = (GOLDEN / f"{name}.Dockerfile").read_text(encoding="utf-8")
    assert render_dev_dockerfile(environment, private_files) == expected


def test_prod() -> None:
    base = f"registry.example.com/acme/sweep-cpu:v1@{DIGEST}"
    expected = (GOLDEN / "prod.Dockerfile").read_text(encoding="utf-8")
    assert render_prod_dockerfile(base) == expected


def test_prod_of_the_newer_layout() -> None:
    base = f"registry.example.com/acme/sweep-cpu:v1@{DIGEST}"
    variables = {"PYTHONPATH": "/user/home/.mf_code", "METAFLOW_EXTRACTED_ROOT": "/user/home"}
    expected = (GOLDEN / "prod-variables.Dockerfile").read_text(encoding="utf-8")
    assert render_prod_dockerfile(base, variables) == expected


def test_a_package_name_is_no_command() -> None:
    environment = Environment(base_image=SLIM, apt_packages=("git; rm -rf /",))
    assert " 'git; rm -rf /' " in render_dev_dockerfile(environment, ())
