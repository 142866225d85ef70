import copy
import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from aicore_build.errors import PackageError
from aicore_build.package import (
    PackageAddress,
    check_package,
    download_package,
    find_package,
    keep_package,
    needed_variables,
    package_entries,
    raw_entries,
    sums_name,
)
from aicore_build.workflow import container_templates
from tests.unit.make import SHA1, make_package, recorded, sha1, sums

KEY = f"metaflow/SweepFlow/data/b9/{SHA1}"


def member(
    name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def test_the_package_is_found_in_what_the_generator_wrote() -> None:
    found = find_package(recorded("generated"))
    assert found == PackageAddress(bucket="aicore-build-sandbox", key=KEY, sha1=SHA1)
    assert str(found) == f"s3://aicore-build-sandbox/{KEY}"


def test_an_embedded_workflow_template_names_no_package() -> None:
    with pytest.raises(PackageError, match=r"downloads 0 code packages \(none\)"):
        find_package(recorded("embedded"))


def test_two_packages_are_refused() -> None:
    document = copy.deepcopy(recorded("generated"))
    container = list(container_templates(document))[-1]["container"]
    container["args"][1] = container["args"][1].replace(SHA1, f"b9{'0' * 38}")
    with pytest.raises(PackageError, match="downloads 2 code packages") as refused:
        find_package(document)
    assert f"data/b9/{SHA1}" in str(refused.value)
    assert f"data/b9/b9{'0' * 38}" in str(refused.value)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(f"metaflow/SweepFlow/data/b8/{SHA1}", id="folder of another hash"),
        pytest.param(KEY[:-1], id="short"),
        pytest.param(f"{KEY}.tar", id="suffix"),
        pytest.param("metaflow/SweepFlow/job", id="no hash"),
    ],
)
def test_a_package_that_is_not_named_by_its_hash_is_refused(key: str) -> None:
    document = copy.deepcopy(recorded("generated"))
    for template in container_templates(document):
        args = template["container"]["args"]
        args[1] = args[1].replace(KEY, key)
    with pytest.raises(PackageError, match="is not named by its sha1"):
        find_package(document)


def test_a_package_in_the_cache_is_not_downloaded_again(tmp_path: Path) -> None:
    content = b"a package"
    sha1 = hashlib.sha1(content).hexdigest()
    cached = tmp_path / "packages" / sha1 / "job.tar"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    address = PackageAddress(bucket="nowhere", key=f"data/{sha1[:2]}/{sha1}", sha1=sha1)
    assert download_package(address, None, tmp_path) == cached


def test_what_is_downloaded_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha1 = hashlib.sha1(b"good").hexdigest()
    address = PackageAddress(bucket="bucket", key=f"data/{sha1[:2]}/{sha1}", sha1=sha1)
    path = tmp_path / "packages" / sha1 / "job.tar"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged in the cache")

    def give(content: bytes) -> None:
        monkeypatch.setattr(
            "aicore_build.store.download", lambda *arguments: arguments[-1].write_bytes(content)
        )

    give(b"bad")
    with pytest.raises(PackageError, match="is damaged: its sha1 is"):
        download_package(address, None, tmp_path)
    give(b"good")
    assert download_package(address, None, tmp_path).read_bytes() == b"good"
    assert list(path.parent.iterdir()) == [path]


def test_a_sound_package_passes(tmp_path: Path) -> None:
    package = make_package(
        tmp_path / "job.tar",
        member("lib", tarfile.DIRTYPE, mode=0o755),
        "lib/..data/x..y.py",
        "lib/.whatever",
        "./INFO",
        script="./flow.py",
    )
    check_package(package, "flow.py")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param(member("/etc/passwd"), "outside the package", id="absolute"),
        pytest.param(member("../x.py"), "outside the package", id="parent"),
        pytest.param(member("a/../../x.py"), "outside the package", id="parent within"),
        pytest.param(member("a/.wh.b"), "delete a file of the image", id="whiteout"),
        pytest.param(member(".wh..wh..opq"), "delete a file of the image", id="opaque whiteout"),
        pytest.param(member(".wh.a/b.py"), "delete a file of the image", id="whiteout folder"),
        pytest.param(
            member("x.py", tarfile.SYMTYPE, link="flow.py"), "neither a file nor", id="symlink"
        ),
        pytest.param(
            member("x.py", tarfile.LNKTYPE, link="flow.py"), "neither a file nor", id="hard link"
        ),
        pytest.param(member("null", tarfile.CHRTYPE), "neither a file nor", id="character device"),
        pytest.param(member("disk", tarfile.BLKTYPE), "neither a file nor", id="block device"),
        pytest.param(member("pipe", tarfile.FIFOTYPE), "neither a file nor", id="pipe"),
    ],
)
def test_an_unsafe_member_is_refused(tmp_path: Path, bad: tarfile.TarInfo, reason: str) -> None:
    package = make_package(tmp_path / "job.tar", "helper.py", bad)
    with pytest.raises(PackageError, match=reason) as refused:
        check_package(package, "flow.py")
    assert repr(bad.name) in str(refused.value)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param("INFO", id="none"),
        pytest.param("sub/flow.py", id="in a folder"),
        pytest.param("myflow.py", id="longer name"),
    ],
)
def test_a_package_without_the_flow_is_refused(tmp_path: Path, other: str) -> None:
    package = make_package(tmp_path / "job.tar", other, script=None)
    with pytest.raises(PackageError, match=r"does not contain the flow's own file flow\.py"):
        check_package(package, "flow.py")


def test_what_is_no_compressed_tar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "job.tar"
    whole = make_package(path).read_bytes()
    damaged = whole[:20] + bytes(20) + whole[40:]
    for content in (b"", b"text", whole[:-20], damaged, gzip.compress(b"text" * 1000)):
        path.write_bytes(content)
        with pytest.raises(PackageError, match="is not a compressed tar"):
            check_package(path, "flow.py")


def test_entries_are_readable_for_everybody_whatever_their_mode(tmp_path: Path) -> None:
    package = make_package(
        tmp_path / "job.tar",
        member("private.py", mode=0o600),
        member("run.sh", mode=0o700),
        member("suid", mode=0o4755),
        member("open.py", mode=0o666),
        member("lib", tarfile.DIRTYPE, mode=0o700),
        member("./lib/x.py", mode=0o400),
    )
    with package_entries(package, "user/home") as entries:
        found = {entry.name: (entry.mode, entry.open is None) for entry in entries}
    assert found == {
        "user/home/private.py": (0o644, False),
        "user/home/run.sh": (0o755, False),
        "user/home/suid": (0o755, False),
        "user/home/open.py": (0o644, False),
        "user/home/lib": (0o755, True),
        "user/home/lib/x.py": (0o644, False),
        "user/home/flow.py": (0o644, False),
        f"user/{sums_name(sha1(package))}": (0o644, False),
        "user/home": (0o777, True),
        "user/home/.metaflow": (0o777, True),
    }


def test_entries_can_be_read_in_any_order(tmp_path: Path) -> None:
    package = make_package(tmp_path / "job.tar", "a.py", "b.py")
    with package_entries(package, "user/home") as entries:
        for entry in reversed(entries):
            if entry.open and entry.name.startswith("user/home/"):
                with entry.open() as content:
                    assert f"user/home/{content.read().decode()}" == entry.name


def test_the_hashes_of_all_files_lie_beside_the_home(tmp_path: Path) -> None:
    package = make_package(tmp_path / "job.tar", "b.py", member("lib", tarfile.DIRTYPE), "a.py")
    with package_entries(package, "user/home") as entries:
        (listed,) = [entry for entry in entries if entry.name.startswith("user/code-package-")]
        assert listed.name == f"user/code-package-{sha1(package)}.sha256"
        assert listed.open
        with listed.open() as content:
            assert content.read() == sums("a.py", "b.py", "flow.py")


def test_a_package_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    path = make_package(tmp_path / "job.tar", "helper.py")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:700]))
    with pytest.raises(PackageError, match="not a compressed tar"):
        check_package(path, "flow.py")


def test_the_packages_own_root_does_not_undo_the_homes_mode(tmp_path: Path) -> None:
    root = tarfile.TarInfo("./")
    root.type = tarfile.DIRTYPE
    with package_entries(make_package(tmp_path / "job.tar", root), "user/home") as entries:
        assert [entry.mode for entry in entries if entry.name.startswith("user/home/.")] == [0o777]


def test_secrets_are_refused_unless_they_are_allowed(tmp_path: Path) -> None:
    content = b"postgres://ada:Tr0ub4dor@db.acme.io/x"
    path = tmp_path / "job.tar"
    with tarfile.open(path, mode="w:gz") as tar:
        for name in ("flow.py", "conf/db.py"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(PackageError) as error:
        check_package(path, "flow.py", ("flow.py",))
    assert "  conf/db.py, line 1: password in a URL\n" in str(error.value)
    assert "flow.py" not in str(error.value)
    assert "Tr0ub4dor" not in str(error.value)
    check_package(path, "flow.py", ("flow.py", "conf/*"))


def test_raw_entries_keep_their_modes(tmp_path: Path) -> None:
    path = make_package(tmp_path / "job.tar", member("./a.py", mode=0o600))
    with raw_entries(path) as entries:
        assert [(entry.name, entry.mode) for entry in entries] == [
            ("a.py", 0o600),
            ("flow.py", 0o644),
        ]


@pytest.mark.parametrize(
    ("names", "has"),
    [
        pytest.param(("metaflow/__init__.py",), False, id="2.12"),
        pytest.param((".mf_code/metaflow/__init__.py", ".mf_meta/INFO"), True, id="2.19"),
        pytest.param(("./.mf_code/metaflow/__init__.py",), True, id="2.19, with ./"),
        pytest.param(("lib/.mf_code/x.py", ".mf_code.py", "my.mf_code/x.py"), False, id="alike"),
    ],
)
def test_variables_are_needed_where_metaflow_has_a_folder_of_its_own(
    tmp_path: Path, names: tuple[str, ...], *, has: bool
) -> None:
    path = make_package(tmp_path / "job.tar", *names)
    paths = {"PYTHONPATH": "/user/home/.mf_code", "METAFLOW_EXTRACTED_ROOT": "/user/home"}
    assert needed_variables(path, "user/home") == (paths if has else {})


def test_variables_of_what_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "job.tar").write_bytes(b"no tar")
    with pytest.raises(PackageError, match="not a compressed tar"):
        needed_variables(tmp_path / "job.tar", "user/home")


def test_a_package_that_a_generator_wrote_is_kept_in_the_cache(tmp_path: Path) -> None:
    folder, cache = tmp_path / "made", tmp_path / "cache"
    folder.mkdir()
    content = make_package(tmp_path / "job.tar").read_bytes()
    name = hashlib.sha1(content).hexdigest()
    for _ in range(2):  # as well where the cache has it already
        (folder / name).write_bytes(content)
        kept = keep_package(folder, name, cache)
        assert kept.read_bytes() == content
        assert list(folder.iterdir()) == []
        assert [path for path in cache.rglob("*") if path.is_file()] == [kept]
    address = PackageAddress(bucket="nowhere", key=f"data/{name[:2]}/{name}", sha1=name)
    assert download_package(address, None, cache) == kept


@pytest.mark.parametrize("name", [SHA1, "0" * 40])
def test_a_generator_that_wrote_another_package(tmp_path: Path, name: str) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / SHA1).write_bytes(b"damaged")
    with pytest.raises(PackageError, match=f"no code package with the sha1 {name}") as refused:
        keep_package(tmp_path / "made", name, tmp_path / "cache")
    assert "Leave out --offline" in str(refused.value)
    assert not (tmp_path / "cache").exists()
