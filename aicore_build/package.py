"""The code package (`job.tar`): found in a workflow template, downloaded, verified, looked into."""

import contextlib
import gzip
import hashlib
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from aicore_build import store
from aicore_build.errors import PackageError
from aicore_build.inspection import find_secrets, is_allowed
from aicore_build.layer import Entry, text_entry
from aicore_build.workflow import Json, container_templates

if TYPE_CHECKING:
    from io import BufferedReader

# As the steps fetch it: …download_file("bucket", "prefix/Flow/data/ab/ab12…", "job.tar")…
_DOWNLOAD = re.compile(
    r'download_file\(\s*\\?"([^"\\]+)\\?"\s*,\s*\\?"([^"\\]+)\\?"\s*,\s*\\?"job\.tar\\?"\s*\)'
)
_KEY = re.compile(r".+/data/([0-9a-f]{2})/(?P<sha1>\1[0-9a-f]{38})")

_METAFLOWS = ".mf_code"

_IN_MEMORY = 16 * 1024 * 1024
"""Bytes of a package that are extracted in memory; a larger one goes through a temporary file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageAddress:
    """Where Metaflow put the code package."""

    bucket: str
    key: str

    sha1: str
    """Of the file; Metaflow names it by that."""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def find_package(workflow_template: Json) -> PackageAddress:
    """Find the one code package that the commands of a workflow template download.

    Raises:
        PackageError: there is none, or more than one.
    """
    found = {
        match
        for template in container_templates(workflow_template)
        for argument in template["container"].get("args", [])
        for match in _DOWNLOAD.findall(argument)
    }
    if len(found) != 1:
        addresses = ", ".join(f"s3://{bucket}/{key}" for bucket, key in sorted(found)) or "none"
        raise PackageError(
            f"The generated workflow template downloads {len(found)} code packages ({addresses}), "
            "where it should be one.\nThe generator is newer than what aicore-build knows: please "
            "report this with its version."
        )
    bucket, key = found.pop()
    match = _KEY.fullmatch(key)
    if match is None:
        raise PackageError(f"The code package s3://{bucket}/{key} is not named by its sha1.")
    return PackageAddress(bucket=bucket, key=key, sha1=match["sha1"])


def download_package(address: PackageAddress, endpoint: str | None, cache: Path) -> Path:
    """Return the code package's file in the cache; download it if it isn't there, and verify it.

    Args:
        address: the package.
        endpoint: of a store that is not AWS.
        cache: a folder that may be deleted at any time.

    Raises:
        StoreError: S3 refused, can't be reached, or has no such file.
        PackageError: the file is not the one that the address names.
    """
    path = _cached(cache, address.sha1)
    if path.is_file() and _sha1(path) == address.sha1:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            store.download(address.bucket, address.key, endpoint, Path(file.name))
            if (sha1 := _sha1(Path(file.name))) != address.sha1:
                raise PackageError(
                    f"{address} is damaged: its sha1 is {sha1}.\n"
                    "Something else wrote to it; delete it and run the command again, which "
                    "uploads it anew."
                )
            Path(file.name).replace(path)
        finally:
            Path(file.name).unlink(missing_ok=True)
    return path


def keep_package(folder: Path, sha1: str, cache: Path) -> Path:
    """Move the code package that a generator wrote into the cache; return its file there.

    Raises:
        PackageError: the generator wrote another one.
    """
    path, made = _cached(cache, sha1), folder / sha1
    if not made.is_file() or _sha1(made) != sha1:
        raise PackageError(
            f"The generator wrote no code package with the sha1 {sha1}, which the workflow "
            "template names.\nLeave out --offline: S3 has it then."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        Path(shutil.move(made, Path(temporary) / "job.tar")).replace(path)
    return path


def _cached(cache: Path, sha1: str) -> Path:
    return cache / "packages" / sha1 / "job.tar"


def check_package(path: Path, script: str, allow_secrets: tuple[str, ...] = ()) -> None:
    """Refuse a code package that would not run, would write outside its folder, or has secrets.

    Args:
        path: `job.tar`.
        script: the flow's file name.
        allow_secrets: names and patterns of files that may have secrets.

    Raises:
        PackageError: it is no tar, lacks the script, or has a member or secret that is refused.
    """
    with _open(path) as tar:
        members = tar.getmembers()
        _check_members(members, script)
        refuse_secrets(_raw_entries(tar), allow_secrets)


def refuse_secrets(entries: Iterable[Entry], allowed: tuple[str, ...]) -> None:
    """Refuse files with secrets in them, unless they are allowed by name.

    Raises:
        PackageError: there are some; names where they are, not what they are.
    """
    found = [secret for secret in find_secrets(entries) if not is_allowed(secret, allowed)]
    if found:
        raise PackageError(
            "The code package has what looks like secrets:\n"
            + "".join(f"  {secret}\n" for secret in sorted(found))
            + "Whoever may pull the prod image could read them. Give them to the step at run time, "
            "for example by a secret of AI Core; a file that has none, or has to be in the image, "
            "is named in the setting allow-secrets."
        )


def _check_members(members: Iterable[tarfile.TarInfo], script: str) -> None:
    for member in members:
        if reason := _refusal(member):
            raise PackageError(
                f"The code package has the member {member.name!r}, {reason}.\n"
                "Rename or remove it beside the flow and run the command again."
            )
    if script not in {str(PurePosixPath(member.name)) for member in members}:
        raise PackageError(
            f"The code package does not contain the flow's own file {script}.\n"
            "Metaflow leaves out all files below a hidden folder: check that no folder above the "
            "flow has a name that begins with a dot."
        )


def _refusal(member: tarfile.TarInfo) -> str | None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        return "which lies outside the package"
    if any(part.startswith(".wh.") for part in path.parts):
        return "which would delete a file of the image"
    if not (member.isfile() or member.isdir()):
        return "which is neither a file nor a folder"
    return None


@contextlib.contextmanager
def raw_entries(path: Path) -> Iterator[list[Entry]]:
    """The code package's files, named and with modes as they are in it.

    Args:
        path: `job.tar`.
    """
    with _open(path) as tar:
        yield _raw_entries(tar)


def _raw_entries(tar: tarfile.TarFile) -> list[Entry]:
    members = (member for member in tar.getmembers() if member.isfile())
    return [
        replace(_entry(tar, member, ""), name=str(PurePosixPath(member.name)), mode=member.mode)
        for member in members
    ]


@contextlib.contextmanager
def package_entries(path: Path, home: str) -> Iterator[list[Entry]]:
    """The code package, extracted, as it stands in a prod image.

    Everybody may read all files, whatever their mode in the package; everybody may write to the
    home itself and its `.metaflow`, where Metaflow keeps its own files when a step runs. Beside the
    home is a list of the files' hashes, named by the package: `verify` and `sha256sum -c` read it.

    Args:
        path: `job.tar`, checked.
        home: the folder to put it in.
    """
    with _open(path) as tar:
        members = [member for member in tar.getmembers() if PurePosixPath(member.name).parts]
        entries = [_entry(tar, member, home) for member in members]
        sums = text_entry(str(PurePosixPath(home).parent / sums_name(_sha1(path))), _sums(tar))
        folders = [Entry(name=name, mode=0o777, open=None) for name in (home, f"{home}/.metaflow")]
        yield [*entries, sums, *folders]


def needed_variables(path: Path, home: str) -> dict[str, str]:
    """What a prod image has in its environment, so that Metaflow is found where it is.

    Since 2.16, Metaflow's own code lies in a folder of its own in the package.

    Args:
        path: `job.tar`, checked.
        home: the folder that it is put in.
    """
    with _open(path) as tar:
        if not any(PurePosixPath(name).parts[:1] == (_METAFLOWS,) for name in tar.getnames()):
            return {}
    return {"PYTHONPATH": f"/{home}/{_METAFLOWS}", "METAFLOW_EXTRACTED_ROOT": f"/{home}"}


def sums_name(sha1: str) -> str:
    """The file with the hashes of a code package's files; it lies beside their folder.

    Args:
        sha1: of the code package.
    """
    return f"code-package-{sha1}.sha256"


def _sums(tar: tarfile.TarFile) -> str:
    """As `sha256sum` writes it, sorted by name; of two members with one name the last counts."""
    files = {str(PurePosixPath(member.name)): member for member in tar if member.isfile()}
    lines = []
    for name, member in sorted(files.items()):
        content = cast("BufferedReader", tar.extractfile(member))
        lines.append(f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {name}\n")
    return "".join(lines)


def _entry(tar: tarfile.TarFile, member: tarfile.TarInfo, home: str) -> Entry:
    def content() -> IO[bytes]:
        return cast("IO[bytes]", tar.extractfile(member))

    return Entry(
        name=f"{home}/{PurePosixPath(member.name)}",
        mode=0o755 if member.isdir() or member.mode & 0o100 else 0o644,
        open=None if member.isdir() else content,
        size=member.size,
    )


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tarfile.TarFile]:
    """Open the package uncompressed, so that its members can be read in any order."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as plain:
        try:
            with gzip.open(path) as packed:
                shutil.copyfileobj(packed, plain, 1024 * 1024)
            plain.seek(0)
            tar = tarfile.open(fileobj=plain, mode="r:")  # noqa: SIM115 - closed below
            tar.getmembers()
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise PackageError(f"The code package is not a compressed tar: {error}.") from error
        with tar:
            yield tar


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()
