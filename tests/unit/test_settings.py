import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from aicore_build.cli import main
from aicore_build.errors import SettingsError
from aicore_build.overview import Overview
from aicore_build.settings import (
    BuilderName,
    GeneratorName,
    ImageSettings,
    Settings,
    StepSettings,
    load_settings,
    read_requirements,
)
from tests.unit.make import make_flow


def load(folder: Path, toml: str, **given: str | None) -> Settings:
    (folder / "aicore-build.toml").write_text(toml, encoding="utf-8")
    return load_settings(given, folder)


class Loaded:
    """The settings that the command line hands to a command."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setattr("aicore_build.overview.overview", self._overview)
        self._flow = folder / "trainflow.py"
        self._flow.write_text("", encoding="utf-8")

    def _overview(self, _script: Path, settings: Settings) -> Overview:
        self._settings = settings
        return Overview(flow=make_flow(), images=(), notes=())

    def by(self, *flags: str, env: Mapping[str, str] | None = None) -> Settings:
        command = ["plan", "--flow", str(self._flow), *flags]
        answer = CliRunner().invoke(main, command, env=env)
        assert answer.exit_code == 0, answer.output
        return self._settings


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Loaded:
    return Loaded(monkeypatch, tmp_path)


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(
    loaded: Loaded, tmp_path: Path
) -> None:
    assert loaded.by().jobs == 4
    (tmp_path / "aicore-build.toml").write_text("jobs = 5\n", encoding="utf-8")
    assert loaded.by().jobs == 5
    environment = {"AICORE_BUILD_JOBS": "6"}
    assert loaded.by(env=environment).jobs == 6
    assert loaded.by("--jobs", "7", env=environment).jobs == 7


def test_settings_are_merged_key_by_key(loaded: Loaded, tmp_path: Path) -> None:
    toml = '[tool.aicore-build]\nscenario-id = "from-file"\nversion = "1.0"\n'
    (tmp_path / "pyproject.toml").write_text(toml, encoding="utf-8")
    settings = loaded.by("--version", "2.0", env={"AICORE_BUILD_SCENARIO_NAME": "From Env"})
    assert settings.scenario_id == "from-file"
    assert settings.scenario_name == "From Env"
    assert settings.version == "2.0"
    assert settings.object_store_secret == "default-object-store-secret"


def test_every_setting_with_a_flag_is_read_from_it(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("torch\n", encoding="utf-8")
    path = str(tmp_path / "file")
    values: dict[str, tuple[str, Any]] = {
        "python": (path, path),
        "output": (path, Path(path)),
        "builder": ("registry", BuilderName.REGISTRY),
        "generator": ("metaflow", GeneratorName.METAFLOW),
        "keep-resources": ("True", True),
        "plain-http": ("one:80,two", ("one:80", "two")),
        "metaflow-options": ("--with 'retry:times=2'", ("--with", "retry:times=2")),
        "requirements": (path, ("torch",)),
        "ca-bundle": (path, Path(path)),
        "pip-config": (path, Path(path)),
        "apt-packages": ("git, libgomp1,", ("git", "libgomp1")),
        "image-pull-secrets": ("one,two", ("one", "two")),
        "lint-ignore": ("AIC009,ARG006", ("AIC009", "ARG006")),
        "allow-secrets": ("a.py,*.env", ("a.py", "*.env")),
        "jobs": ("9", 9),
        "generator-timeout": ("9", 9),
    }
    for setting in fields(Settings):
        key = setting.name.replace("_", "-")
        if setting.metadata["flag"] and key != "flow":
            text, expected = values.get(key, ("some-text", "some-text"))
            assert getattr(loaded.by(f"--{key}", text), setting.name) == expected
            by_env = loaded.by(env={f"AICORE_BUILD_{setting.name.upper()}": text})
            assert getattr(by_env, setting.name) == expected


def test_paths_are_relative_to_where_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "ca.pem").touch()
    monkeypatch.chdir(here)
    assert load(there, 'ca-bundle = "ca.pem"').ca_bundle == there / "ca.pem"
    assert load(there, "", ca_bundle="ca.pem").ca_bundle == here / "ca.pem"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("python3.12", "python3.12", id="found on PATH"),
        pytest.param("venv/bin/python", "{folder}/venv/bin/python", id="beside the flow"),
        pytest.param("/usr/bin/python3", "/usr/bin/python3", id="absolute"),
    ],
)
def test_the_interpreter(tmp_path: Path, value: str, expected: str) -> None:
    assert load(tmp_path, f'python = "{value}"').python == expected.format(folder=tmp_path)


def test_the_interpreter_by_default_is_ours(tmp_path: Path) -> None:
    assert load_settings({}, tmp_path).python == sys.executable


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        pytest.param(
            'scenario_id = "x"',
            "There is no setting scenario_id. Did you mean scenario-id?",
            id="_",
        ),
        pytest.param('regstry = "x"', "regstry. Did you mean registry?", id="misspelt"),
        pytest.param('colour = "red"', "There is no setting colour.\nKnown here: flow,", id="far"),
        pytest.param(
            '[images."a:1"]\nbase-imge = "x"',
            'images."a:1".base-imge. Did you mean base-image?\n'
            "Known here: base-image, requirements, apt-packages, dockerfile.",
            id="image",
        ),
        pytest.param(
            '[steps.start]\nresource_plan = "x"',
            "steps.start.resource_plan. Did you mean resource-plan?",
            id="step",
        ),
        pytest.param("version = 1.0", "version is 1.0, but has to be text", id="number for text"),
        pytest.param('jobs = "many"', "jobs is 'many', but has to be a whole number", id="jobs"),
        pytest.param("jobs = 0", "jobs is 0, but has to be a whole number, 1 or more", id="zero"),
        pytest.param("jobs = -1", "jobs is -1", id="negative"),
        pytest.param("jobs = true", "jobs is True", id="true for number"),
        pytest.param("jobs = 1.5", "jobs is 1.5", id="fraction"),
        pytest.param(
            "apt-packages = [1]", r"apt-packages is [1], but has to be a list of", id="list"
        ),
        pytest.param(
            "labels = {a = 1}", "labels is {'a': 1}, but has to be a table of", id="labels"
        ),
        pytest.param('images = "x"', "images is 'x', but has to be a table of tables", id="images"),
        pytest.param('[steps]\nstart = "x"', "steps is {'start': 'x'}", id="steps"),
        pytest.param('pip-config = "no"', "pip-config: there is no file", id="no such file"),
        pytest.param('requirements = "no"', "requirements: there is no file", id="no list"),
        pytest.param(
            '[images.a]\ndockerfile = "no"',
            'images."a".dockerfile: there is no',
            id="no Dockerfile",
        ),
        pytest.param("jobs =", "aicore-build.toml is not valid TOML", id="no TOML"),
    ],
)
def test_a_bad_settings_file_is_refused(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, toml)
    assert message in str(refused.value)


def test_a_bad_flag_is_named_as_a_flag(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^--jobs is 'x', but has to be a whole number"):
        load_settings({"jobs": "x"}, tmp_path)


def test_settings_in_two_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.aicore-build]\n", encoding="utf-8")
    with pytest.raises(
        SettingsError, match=r"two places: .*aicore-build.toml and .*pyproject.toml"
    ):
        load(tmp_path, "jobs = 1")


def test_a_pyproject_of_others_is_no_second_place(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\n", encoding="utf-8")
    assert load(tmp_path, "jobs = 1").jobs == 1


def test_nested_tables(tmp_path: Path) -> None:
    (tmp_path / "gpu.txt").write_text("torch==2.4\n", encoding="utf-8")
    (tmp_path / "Dockerfile.own").touch()
    settings = load(
        tmp_path,
        """
        [images."acme/gpu:v1"]
        base-image = "nvidia/cuda:12"
        requirements = "gpu.txt"
        apt-packages = ["git"]
        [images."acme/*"]
        requirements = []
        [images."other/*"]
        dockerfile = "Dockerfile.own"
        [steps.train_model]
        resource-plan = "train.l"
        [labels]
        team = "data"
        """,
    )
    gpu = ImageSettings(
        base_image="nvidia/cuda:12", requirements=("torch==2.4",), apt_packages=("git",)
    )
    assert settings.image_settings(["acme/gpu:v1"]) == gpu
    assert settings.image_settings(["acme/cpu:v1"]) == ImageSettings(requirements=())
    assert settings.image_settings(["other/x"]).dockerfile == tmp_path / "Dockerfile.own"
    assert settings.image_settings(["third/x"]) == ImageSettings()
    assert settings.steps == {"train_model": StepSettings(resource_plan="train.l")}
    assert settings.labels == {"team": "data"}


def test_an_exact_reference_beats_a_pattern_before_it(tmp_path: Path) -> None:
    toml = "".join(
        f'[images."{key}"]\nbase-image = "{base}"\n'
        for key, base in (("acme/*", "first"), ("acme/gpu:v1", "exact"), ("*", "last"))
    )
    settings = load(tmp_path, toml)
    assert settings.image_settings(["acme/gpu:v1"]).base_image == "exact"
    assert settings.image_settings(["acme/cpu:v1"]).base_image == "first"
    assert settings.image_settings(["python"]).base_image == "last"
    assert settings.image_settings(["Acme/cpu:v1"]).base_image == "last"


def test_a_requirements_file_is_read_with_those_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "requirements.txt").write_text(
        "# what all have\n"
        "numpy==1.26  # pinned\n"
        "\n"
        "-r more/one.txt\n"
        "--requirement=more/two.txt\n"
        "pandas \\\n"
        "    --hash=sha256:12 \\\n"
        "    --hash=sha256:34\n"
        "lib @ https://example.com/lib.zip#sha1=12\n"
        "private @ git+ssh://git@github.com/acme/private\n",
        encoding="utf-8",
    )
    (tmp_path / "more" / "one.txt").write_text('-r "three.txt"\n', encoding="utf-8")
    (tmp_path / "more" / "two.txt").write_text("two; python_version > '3'\n", encoding="utf-8")
    (tmp_path / "more" / "three.txt").write_text("three\n", encoding="utf-8")
    lines = read_requirements(tmp_path / "requirements.txt")
    assert [" ".join(line.split()) for line in lines] == [
        "numpy==1.26",
        "three",
        "two; python_version > '3'",
        "pandas --hash=sha256:12 --hash=sha256:34",
        "lib @ https://example.com/lib.zip#sha1=12",
        "private @ git+ssh://git@github.com/acme/private",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("a @ https://me:p4ss@host.example/a.zip", "credentials", id="password"),
        pytest.param("--index-url https://t0ken@host.example/simple", "credentials", id="token"),
        pytest.param("--extra-index-url=https://me:p4ss@host.example/", "credentials", id="index"),
        pytest.param("git+https://me:p4ss@host.example/a.git", "credentials", id="git"),
        pytest.param("-e .", "names a file of this machine", id="-e"),
        pytest.param("-e git+https://host.example/a", "names a file of this machine", id="-e git"),
        pytest.param("--editable ./lib", "names a file of this machine", id="--editable"),
        pytest.param("./lib", "names a file of this machine", id="folder"),
        pytest.param("../lib", "names a file of this machine", id="parent"),
        pytest.param("/opt/lib.whl", "names a file of this machine", id="absolute"),
        pytest.param("file:///opt/lib.whl", "names a file of this machine", id="file URL"),
        pytest.param("-c constraints.txt", "names a file of this machine", id="constraints"),
    ],
)
def test_a_requirement_that_leaks_or_cannot_work_is_refused(
    tmp_path: Path, line: str, message: str
) -> None:
    (tmp_path / "nested.txt").write_text(f"{line}\n", encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("-r nested.txt\n", encoding="utf-8")
    for toml in ('requirements = "requirements.txt"', f"requirements = ['{line}']"):
        with pytest.raises(SettingsError, match=message) as refused:
            load(tmp_path, toml)
        assert "p4ss" not in str(refused.value)
        assert "t0ken" not in str(refused.value)


def test_a_missing_nested_requirements_file(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("-r gone.txt\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"requirements: .*gone\.txt"):
        load(tmp_path, 'requirements = "requirements.txt"')


@pytest.mark.parametrize("value", ["3.11", "['x']"])
def test_python_is_text(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError, match="but has to be text"):
        load(tmp_path, f"python = {value}")


@pytest.mark.parametrize(
    "line",
    [
        "lib @ file:///opt/lib.whl",
        "lib @ ./lib",
        "wheels/lib-1.0-py3-none-any.whl",
        "lib-1.0-py3-none-any.whl",
        "--find-links ./wheels",
        "-f wheels",
    ],
)
def test_files_of_this_machine_are_no_requirements(tmp_path: Path, line: str) -> None:
    with pytest.raises(SettingsError, match="file of this machine"):
        load(tmp_path, f"requirements = ['{line}']")


@pytest.mark.parametrize(
    "line",
    [
        "lib @ https://example.com/lib-1.0-py3-none-any.whl",
        "git+https://example.com/acme/lib.git@v1",
        "--find-links https://example.com/wheels",
        "--extra-index-url https://example.com/simple",
        "lib[extra]>=1,<2 ; python_version >= '3.11'",
    ],
)
def test_what_pip_fetches_is_a_requirement(tmp_path: Path, line: str) -> None:
    assert load(tmp_path, f'requirements = ["{line}"]').requirements == (line,)


def test_a_requirements_file_in_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"-r more\.txt"):
        load(tmp_path, 'requirements = ["-r more.txt"]')


def test_a_requirements_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("-r more.txt\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="includes itself"):
        load(tmp_path, 'requirements = "more.txt"')


def test_a_byte_order_mark_is_not_a_part_of_the_first_requirement(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("torch\n", encoding="utf-8-sig")
    assert load(tmp_path, 'requirements = "more.txt"').requirements == ("torch",)


def test_settings_in_pyproject_that_are_no_table(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool]\naicore-build = "x"\n', encoding="utf-8")
    with pytest.raises(SettingsError, match="not a table"):
        load_settings({}, tmp_path)
