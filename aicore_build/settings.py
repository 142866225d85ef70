"""Settings: flag > `AICORE_BUILD_*` > `aicore-build.toml` or `pyproject.toml` > default.

`Settings` is the one list of them: the command line's options, the keys that the file may have,
and the table in the README are all made from its fields.
"""

import difflib
import fnmatch
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from aicore_build.errors import SettingsError
from aicore_build.reference import parse_prefix

FILE_NAMES = ("aicore-build.toml", "pyproject.toml")


class BuilderName(StrEnum):
    """The ways to make prod images."""

    DOCKER = "docker"
    REGISTRY = "registry"


class GeneratorName(StrEnum):
    """What turns a flow into a workflow template."""

    SAP = "sap"
    METAFLOW = "metaflow"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """What one image has instead of what all images have; None where it has the same."""

    base_image: str | None = None
    requirements: tuple[str, ...] | None = None
    apt_packages: tuple[str, ...] | None = None
    dockerfile: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """What one step has of its own."""

    resource_plan: str | None = None


def _text(value: object, _folder: Path) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return value


def _number(value: object, _folder: Path) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise TypeError("a whole number, 1 or more")
    return value


def _path(value: object, folder: Path) -> Path:
    return folder / Path(_text(value, folder)).expanduser()


def _file(value: object, folder: Path) -> Path:
    path = _path(value, folder)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _builder(value: object, folder: Path) -> BuilderName:
    try:
        return BuilderName(_text(value, folder))
    except ValueError:
        raise ValueError(f"{value!r} is neither docker nor registry") from None


def _generator(value: object, folder: Path) -> GeneratorName:
    try:
        return GeneratorName(_text(value, folder))
    except ValueError:
        raise ValueError(f"{value!r} is neither sap nor metaflow") from None


def _yes(value: object, folder: Path) -> bool:
    if isinstance(value, bool):
        return value
    if _text(value, folder).lower() not in ("true", "false"):
        raise TypeError("true or false")
    return _text(value, folder).lower() == "true"


def _registry(value: object, folder: Path) -> str:
    parse_prefix(_text(value, folder))
    return _text(value, folder)


def _command(value: object, folder: Path) -> str:
    """A program: looked up in PATH, unless it is a path."""
    return str(_path(value, folder)) if "/" in _text(value, folder) else _text(value, folder)


def _texts(value: object, _folder: Path) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise TypeError("a list of texts")
    return tuple(value)


def _options(value: object, folder: Path) -> tuple[str, ...]:
    """Options of a command line: words, as a shell splits them, or a list of them."""
    return tuple(shlex.split(value)) if isinstance(value, str) else _texts(value, folder)


def _labels(value: object, _folder: Path) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(part, str) for part in value.values()):
        raise TypeError("a table of texts")
    return value


def _requirements(value: object, folder: Path) -> tuple[str, ...]:
    """A list of requirements, or the name of a requirements file."""
    if isinstance(value, str):
        return read_requirements(_file(value, folder))
    lines = _texts(value, folder)
    check_requirements(lines, "the settings")
    return lines


def _images(value: object, folder: Path) -> Mapping[str, ImageSettings]:
    readers = {
        "base-image": _text,
        "requirements": _requirements,
        "apt-packages": _texts,
        "dockerfile": _file,
    }
    return {
        pattern: ImageSettings(**_read_table(table, readers, folder, f'images."{pattern}".'))
        for pattern, table in _tables(value).items()
    }


def _steps(value: object, folder: Path) -> Mapping[str, StepSettings]:
    return {
        name: StepSettings(**_read_table(table, {"resource-plan": _text}, folder, f"steps.{name}."))
        for name, table in _tables(value).items()
    }


def _tables(value: object) -> Mapping[str, Mapping[str, object]]:
    if not isinstance(value, dict) or not all(isinstance(part, dict) for part in value.values()):
        raise TypeError("a table of tables")
    return value


_METAVARS = {_number: "NUMBER", _path: "FILE", _file: "FILE", _requirements: "FILE", _texts: "A,B"}


def _setting(default: Any, text: str, *, read: Callable[..., Any], flag: bool = True) -> Any:  # noqa: ANN401
    """A field of Settings; its metadata is what flags and documentation are made from."""
    if "Default:" not in text and isinstance(default, str | int):
        text += f" Default: {default}."
    metadata = {"help": text, "read": read, "flag": flag, "metavar": _METAVARS.get(read, "TEXT")}
    return field(default_factory=lambda: default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting; a field's name with `-` for `_` is its key in the file and its flag."""

    flow: Path | None = _setting(
        None, "The flow's file. Default: the one flow in the current folder.", read=_path
    )
    python: str = _setting(
        sys.executable,
        "The flow's Python interpreter. Default: the one that runs aicore-build.",
        read=_command,
    )
    metaflow_options: tuple[str, ...] = _setting(
        (),
        'Top-level options for Metaflow, for example "--with retry"; on the command line also '
        "behind --.",
        read=_options,
    )
    base_image: str | None = _setting(
        None,
        "What dev images start from. Default: python:<version of the flow's Python>-slim.",
        read=_text,
    )
    default_image: str | None = _setting(
        None, "Image reference for steps whose @kubernetes names none.", read=_text
    )
    requirements: tuple[str, ...] = _setting(
        (),
        "Libraries for dev images: a requirements file (in the settings file also a list).",
        read=_requirements,
    )
    apt_packages: tuple[str, ...] = _setting(
        (), "Debian packages for dev images, separated by commas.", read=_texts
    )
    images: Mapping[str, ImageSettings] = _setting(
        {},
        "For images that match a reference or a pattern: base-image, requirements, apt-packages, "
        "or a dockerfile of your own.",
        read=_images,
        flag=False,
    )
    registry: str | None = _setting(
        None,
        "Build only images under this registry or repository prefix and use others as they are.",
        read=_registry,
    )
    builder: BuilderName = _setting(
        BuilderName.DOCKER,
        "What makes prod images: docker, or registry, which needs no Docker Engine.",
        read=_builder,
    )
    generator: GeneratorName | None = _setting(
        None,
        "What makes the workflow template: sap, the plugin, or metaflow, upstream Metaflow 2.19.17 "
        "or newer itself. Default: sap where the plugin is installed.",
        read=_generator,
    )
    keep_resources: bool = _setting(
        False,
        "Keep the cpu and memory that metaflow writes, true or false; AI Core takes the resource "
        "plan. Default: false.",
        read=_yes,
    )
    plain_http: tuple[str, ...] = _setting(
        (), "Registries, host and port, that have no TLS; loopback needs no mention.", read=_texts
    )
    platform: str = _setting("linux/amd64", "The platform of built images.", read=_text)
    scenario_id: str | None = _setting(None, "SAP AI Core's scenario ID.", read=_text)
    scenario_name: str | None = _setting(None, "The scenario's name.", read=_text)
    version: str | None = _setting(None, "The version of the executable.", read=_text)
    executable_name: str | None = _setting(
        None, "The executable's name. Default: the flow's name in lower case.", read=_text
    )
    image_pull_secrets: tuple[str, ...] = _setting(
        (), "Names of the secrets that give access to the registry.", read=_texts
    )
    object_store_secret: str = _setting(
        "default-object-store-secret", "Name of the secret that gives access to S3.", read=_text
    )
    resource_plan: str | None = _setting(
        None, "Resource plan of all steps, for example starter or train.l.", read=_text
    )
    steps: Mapping[str, StepSettings] = _setting(
        {}, "For one step: resource-plan.", read=_steps, flag=False
    )
    labels: Mapping[str, str] = _setting(
        {}, "Further labels of the workflow template.", read=_labels, flag=False
    )
    annotations: Mapping[str, str] = _setting(
        {}, "Further annotations of the workflow template.", read=_labels, flag=False
    )
    output: Path | None = _setting(
        None,
        "The workflow template's file. Default: the flow's name with .json (dev: -dev.json).",
        read=_path,
    )
    allow_secrets: tuple[str, ...] = _setting(
        (),
        "Files of the code package, by name or pattern, that prod embeds though they look secret.",
        read=_texts,
    )
    ca_bundle: Path | None = _setting(
        None, "CA certificates for pip inside the build; not in the image.", read=_file
    )
    pip_config: Path | None = _setting(
        None, "A pip.conf for pip inside the build; not in the image.", read=_file
    )
    build_network: str | None = _setting(
        None, "Docker network of the build, for example host.", read=_text
    )
    lint_ignore: tuple[str, ...] = _setting(
        (), "Codes that lint, dev and prod leave out, for example AIC009.", read=_texts
    )
    jobs: int = _setting(4, "How many images are built at the same time.", read=_number)
    generator_timeout: int = _setting(
        300, "Seconds after which a generator that hangs is ended.", read=_number
    )

    def image_settings(self, spellings: Iterable[str]) -> ImageSettings:
        """What an image has of its own: by an exact key, else by the first pattern that matches.

        Args:
            spellings: the reference as the flow has it, and with all its parts.
        """
        texts = tuple(spellings)
        exact = (text for text in texts if text in self.images)
        patterns = (key for key in self.images if matches(key, texts))
        key = next(exact, None) or next(patterns, None)
        return self.images[key] if key else ImageSettings()


def matches(pattern: str, spellings: Iterable[str]) -> bool:
    """Whether a key of `images` is meant for an image that is spelled like this."""
    return any(fnmatch.fnmatchcase(text, pattern) for text in spellings)


def key_of(name: str) -> str:
    """The key in the file, and with `--` the flag, of a field of Settings."""
    return name.replace("_", "-")


def load_settings(given: Mapping[str, str | None], folder: Path) -> Settings:
    """Merge what the command line and the environment give with the settings file of a folder.

    Args:
        given: by field name; paths are relative to the current folder. None is not given.
        folder: the flow's; paths in its settings file are relative to it.

    Raises:
        SettingsError: an unknown key, or a value of the wrong kind.
    """
    readers = {key_of(f.name): f.metadata["read"] for f in fields(Settings)}
    from_file = _read_table(_read_file(folder), readers, folder, "")
    flags = {key_of(name): value for name, value in given.items() if value is not None}
    return Settings(**{**from_file, **_read_table(flags, readers, Path.cwd(), "--")})


def _read_file(folder: Path) -> Mapping[str, object]:
    tables = {}
    for path in (folder / name for name in FILE_NAMES if (folder / name).is_file()):
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not valid TOML: {error}.") from error
        if path.name == "pyproject.toml":
            document = document.get("tool", {}).get("aicore-build")
        if document is not None:
            tables[path] = document
        if not isinstance(document, dict | None):
            raise SettingsError(f"[tool.aicore-build] in {path} is not a table.")
    if len(tables) > 1:
        raise SettingsError(
            f"Settings are in two places: {' and '.join(map(str, tables))}.\n"
            "Keep them in one of the two."
        )
    return next(iter(tables.values()), {})


def _read_table(
    table: Mapping[str, object], readers: Mapping[str, Callable[..., Any]], folder: Path, where: str
) -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        if key not in readers:
            raise SettingsError(
                f"There is no setting {where}{key}.{did_you_mean(key, readers)}\n"
                f"Known here: {', '.join(readers)}."
            )
        try:
            values[key.replace("-", "_")] = readers[key](value, folder)
        except TypeError as error:
            raise SettingsError(f"{where}{key} is {value!r}, but has to be {error}.") from error
        except (ValueError, OSError) as error:
            raise SettingsError(f"{where}{key}: {error}.") from error
    return values


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known name, or nothing if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def read_requirements(path: Path, *, reading: tuple[Path, ...] = ()) -> tuple[str, ...]:
    """Read a requirements file; the files that it names with `-r` stand in their place.

    Args:
        path: the file.
        reading: the files that led here.

    Raises:
        OSError: it can't be read.
        ValueError: it has a line that can't work in a build or would leak in an image.
    """
    if path.resolve() in reading:
        raise ValueError(f"the requirements file {path} includes itself")
    lines: list[str] = []
    text = path.read_text(encoding="utf-8-sig").replace("\\\n", " ")
    for line in (re.sub(r"(^|\s)#.*$", "", line).strip() for line in text.splitlines()):
        if nested := re.fullmatch(r"(?:-r\s*|--requirement[\s=])\s*(.+)", line):
            inner = path.parent / shlex.split(nested[1])[0]
            lines += read_requirements(inner, reading=(*reading, path.resolve()))
        elif line:
            lines.append(line)
    check_requirements(lines, str(path))
    return tuple(lines)


_OF_THIS_MACHINE = re.compile(
    r"-[ecr]\b|--(?:editable|constraint|requirement)\b|(?:-f|--find-links)\s*=?\s*(?!https?:)\S"
    r"|[./~]|file:|.*@\s*(?:file:|[./~])|[^;#@:]*(?:\.whl\b|/)"
)
"""Requirements that name files: of this machine, which the build hasn't."""


def check_requirements(lines: Iterable[str], source: str) -> None:
    """Refuse requirements that can't work in a build or would leak in an image.

    Raises:
        ValueError: there is one.
    """
    for line in lines:
        if re.search(r"://[^/\s]*@", line) and "://git@" not in line:
            raise ValueError(
                f"a requirement in {source} has credentials in its address: "
                f"{re.sub(r'://[^/]*@', '://****@', line)}\n"
                "They would stay in the image: give them with the setting pip-config instead"
            )
        if _OF_THIS_MACHINE.match(line):
            raise ValueError(
                f"a requirement in {source} names a file of this machine, which the build doesn't "
                f"have: {line}\nPublish it to an index, keep it beside the flow, or give the "
                'image a Dockerfile of your own: images."<reference>".dockerfile'
            )
