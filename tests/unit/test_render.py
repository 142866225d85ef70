from pathlib import Path

import pytest

from aicore_build.errors import OutputError
from aicore_build.flow import Flow
from aicore_build.render import render
from aicore_build.settings import ImageSettings, Settings
from tests.unit.make import CPU, GPU, make_flow


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def phase(self, name: str, phase: str) -> None: ...

    def output(self, name: str, line: str) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


class Rendering:
    """`render` for a flow that needs not be read, into a folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        flow = make_flow(images={"start": CPU, "train": GPU, "end": CPU})
        self._use(monkeypatch, flow)
        self.folder = tmp_path / "contexts"
        self.reporter = Notes()

    def _use(self, monkeypatch: pytest.MonkeyPatch, flow: Flow) -> None:
        monkeypatch.setattr("aicore_build.run.read_flow", lambda *_: flow)

    def into(self, folder: Path, settings: Settings) -> dict[str, str]:
        return render(Path("trainflow.py"), settings, self.reporter, folder, embed=False)

    def files(self, settings: Settings) -> dict[str, str]:
        """Every file below the folder."""
        self.into(self.folder, settings)
        return {
            str(path.relative_to(self.folder)): path.read_text(encoding="utf-8")
            for path in self.folder.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def rendering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rendering:
    return Rendering(monkeypatch, tmp_path)


CPU_FOLDER = "dev/registry.example.com-acme-sweep-cpu-v1"
GPU_FOLDER = "dev/registry.example.com-acme-sweep-gpu-v1"


def test_a_folder_for_each_build(rendering: Rendering) -> None:
    settings = Settings(images={GPU: ImageSettings(requirements=("torch",))})
    files = rendering.files(settings)
    assert set(files) == {
        f"{folder}/{name}"
        for folder in (CPU_FOLDER, GPU_FOLDER)
        for name in ("Dockerfile", "requirements.txt")
    }
    assert files[f"{CPU_FOLDER}/Dockerfile"].startswith("FROM python:3.11-slim\n")
    assert files[f"{GPU_FOLDER}/requirements.txt"].endswith("requests\ntorch\n")
    assert rendering.into(rendering.folder, settings) == {
        CPU: str(rendering.folder / CPU_FOLDER),
        GPU: str(rendering.folder / GPU_FOLDER),
    }


def test_images_that_are_built_once_have_one_folder(rendering: Rendering) -> None:
    assert rendering.into(rendering.folder, Settings()) == {
        CPU: str(rendering.folder / CPU_FOLDER),
        GPU: str(rendering.folder / CPU_FOLDER),
    }


def test_private_files_are_not_written_and_said_so(rendering: Rendering, tmp_path: Path) -> None:
    (tmp_path / "my-pip.conf").write_text("[global]\nindex-url = https://me:p4ss@x", "utf-8")
    files = rendering.files(Settings(pip_config=tmp_path / "my-pip.conf"))
    assert set(files) == {f"{CPU_FOLDER}/Dockerfile", f"{CPU_FOLDER}/requirements.txt"}
    assert not any("p4ss" in text for text in files.values())
    folder = rendering.folder / CPU_FOLDER
    assert rendering.reporter.notes == [
        f"pip.conf is not in {folder}: copy it there before you build."
    ]


def test_the_users_own_dockerfile_with_its_folder(rendering: Rendering, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "sub").mkdir(parents=True)
    (own / "Dockerfile.gpu").write_text("FROM cuda\n", encoding="utf-8")
    (own / "sub" / "run.sh").write_text("true\n", encoding="utf-8")
    (own / "sub" / "run.sh").chmod(0o755)
    settings = Settings(images={GPU: ImageSettings(dockerfile=own / "Dockerfile.gpu")})
    files = rendering.files(settings)
    assert files[f"{GPU_FOLDER}/Dockerfile.gpu"] == "FROM cuda\n"
    script = rendering.folder / GPU_FOLDER / "sub" / "run.sh"
    assert script.stat().st_mode & 0o777 == 0o755


def test_rendered_again_nothing_of_before_is_left(rendering: Rendering) -> None:
    rendering.files(Settings())
    (rendering.folder / CPU_FOLDER / "old.txt").touch()
    files = rendering.files(Settings(base_image="ubuntu"))
    assert set(files) == {f"{CPU_FOLDER}/Dockerfile", f"{CPU_FOLDER}/requirements.txt"}
    assert files[f"{CPU_FOLDER}/Dockerfile"].startswith("FROM ubuntu\n")


def test_a_folder_of_others_is_left_alone(rendering: Rendering) -> None:
    folder = rendering.folder / CPU_FOLDER
    folder.mkdir(parents=True)
    (folder / "thesis.txt").touch()
    with pytest.raises(OutputError, match="is not a build context: name another folder"):
        rendering.into(rendering.folder, Settings())
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_a_folder_that_cannot_be_written(rendering: Rendering) -> None:
    rendering.folder.write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="can't be written: "):
        rendering.into(rendering.folder, Settings())


@pytest.mark.parametrize(
    ("folder", "packed"),
    [
        pytest.param("contexts", True, id="beside the flow"),
        pytest.param("sub/contexts", True, id="below"),
        pytest.param(".aicore-build", False, id="hidden"),
        pytest.param("../contexts", False, id="outside"),
    ],
)
def test_a_folder_that_metaflow_would_pack_is_noted(
    rendering: Rendering,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    folder: str,
    *,
    packed: bool,
) -> None:
    (tmp_path / "flows").mkdir()
    flow = make_flow(images={"start": CPU}, script=tmp_path / "flows" / "trainflow.py")
    rendering._use(monkeypatch, flow)
    rendering.into(tmp_path / "flows" / folder, Settings())
    assert any("Metaflow packs" in note for note in rendering.reporter.notes) is packed


def test_references_that_look_alike_as_folders_have_one_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rendering = Rendering(monkeypatch, tmp_path)
    monkeypatch.setattr(
        "aicore_build.run.read_flow",
        lambda *_: make_flow(images={"start": "r.io/a/b:1", "end": "r.io/a-b:1"}),
    )
    settings = Settings(images={"r.io/a/b:1": ImageSettings(base_image="x")})
    assert len(set(rendering.into(rendering.folder, settings).values())) == 2
