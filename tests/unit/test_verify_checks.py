import json
from pathlib import Path
from typing import Any

import pytest

from aicore_build.lock import Lock
from aicore_build.record import LABEL
from aicore_build.verify import checks
from aicore_build.verify.images import Image
from aicore_build.verify.pods import NOT_STARTED, Ended
from aicore_build.verify.report import Check, Outcome
from tests.unit.make import DIGEST, SHA1, a_lock
from tests.unit.workflows import IMAGE, a_read_step

DOWNLOAD = """python -c 'boto3.client("s3").download_file("bucket", "b9/job.tar", "job.tar")'"""
STEP = "python 'train flow.py' --quiet --environment=conda step start"
PROD = {LABEL: json.dumps({"variant": "prod", "package": SHA1})}
DEV = {LABEL: json.dumps({"variant": "dev"})}


def an_image(*commands: str, labels: dict[str, str] | None = None, **values: Any) -> Image:  # noqa: ANN401
    """An image with a step for each command: one, two, three."""
    names = ("one", "two", "three")
    parts: dict[str, Any] = {
        "reference": IMAGE,
        "steps": tuple(
            a_read_step(name, "-c", text) for name, text in zip(names, commands, strict=False)
        ),
        "id": DIGEST,
        "platform": "linux/amd64",
        "size": 1,
        "config": {},
        "labels": labels or {},
    }
    return Image(**{**parts, **values})


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    template = tmp_path / "trainflow.json"
    template.write_text("{}")
    return a_lock(template)


def problem_of(check: Check) -> str | None:
    """What is wrong; with what to do about it, or neither of the two."""
    assert bool(check.problem) is bool(check.fix)
    return check.problem


@pytest.mark.parametrize(
    ("commands", "labels", "problem"),
    [
        pytest.param([STEP], PROD, None, id="code in the image"),
        pytest.param(
            [STEP, f"{DOWNLOAD} && {STEP}"],
            PROD,
            "The code is in the image, but the commands of two download it or run pip.",
            id="and fetched",
        ),
        pytest.param(
            [f"python -m pip install -qqq boto3 && {STEP}", f"pip3 install x && {STEP}"],
            PROD,
            "The code is in the image, but the commands of one, two download it or run pip.",
            id="pip",
        ),
        pytest.param([f"{DOWNLOAD} && {STEP}"], DEV, None, id="dev fetches"),
        pytest.param(
            [STEP, STEP],
            DEV,
            "The image has no code in it, and one, two fetch none.",
            id="dev does not fetch",
        ),
        pytest.param(["python /app/train.py --x 1"], {}, None, id="somebody else's image"),
        pytest.param(["./train"], DEV, None, id="no Python"),
    ],
)
def test_where_the_code_comes_from(
    commands: list[str], labels: dict[str, str], problem: str | None
) -> None:
    assert problem_of(checks.check_commands(an_image(*commands, labels=labels))) == problem


@pytest.mark.parametrize(
    ("labels", "package"),
    [
        pytest.param(PROD, SHA1, id="prod"),
        pytest.param(DEV, None, id="dev"),
        pytest.param({}, None, id="no record"),
        pytest.param({LABEL: json.dumps({"package": SHA1})}, None, id="no variant"),
        pytest.param({LABEL: "{"}, None, id="no JSON"),
        pytest.param({LABEL: "[1]"}, None, id="no object"),
    ],
)
def test_the_package_that_an_image_records(labels: dict[str, str], package: str | None) -> None:
    assert an_image(labels=labels).package == package


def test_the_recorded_package_is_the_locks(lock: Lock) -> None:
    (check,) = checks.check_package_record(an_image(labels=PROD), lock)
    assert problem_of(check) is None
    other = {LABEL: json.dumps({"variant": "prod", "package": "0" * 40})}
    (check,) = checks.check_package_record(an_image(labels=other), lock)
    assert problem_of(check) == (
        f"The image has the code package {'0' * 40}, but was to have {SHA1}."
    )


@pytest.mark.parametrize(
    ("tag", "wrong"),
    [
        pytest.param(f"v1-prod-{SHA1[:12]}", False, id="the tag's"),
        pytest.param(f"prod-{SHA1[:12]}", False, id="without a version"),
        pytest.param("v1-prod-000000000000", True, id="not the tag's"),
    ],
)
def test_without_a_lock_the_tag_counts(tag: str, wrong: bool) -> None:
    image = an_image(labels=PROD, reference=f"registry.example.com/acme/train:{tag}@{DIGEST}")
    (check,) = checks.check_package_record(image, None)
    assert bool(problem_of(check)) is wrong


def test_there_is_nothing_to_compare(lock: Lock) -> None:
    assert list(checks.check_package_record(an_image(labels=PROD), None)) == []
    assert list(checks.check_package_record(an_image(labels=DEV), lock)) == []


NAME = f"code-package-{SHA1}.sha256"


@pytest.mark.parametrize(
    ("listed", "problem"),
    [
        pytest.param({NAME: []}, None, id="the same"),
        pytest.param(
            {NAME: ["flow.py has other content", "b.py: No such file or directory"]},
            f"2 files are not those of the code package {SHA1}: flow.py has other content; "
            "b.py: No such file or directory.",
            id="files differ",
        ),
        pytest.param(
            {NAME: [f"{i}" for i in range(7)]},
            f"7 files are not those of the code package {SHA1}: 0; 1; 2; 3; 4.",
            id="the first few",
        ),
        pytest.param(
            {"code-package-0.sha256": []},
            f"The image records the code package {SHA1}, but what lies beside its WORKDIR is "
            "code-package-0.sha256.",
            id="another package",
        ),
        pytest.param(
            {},
            f"The image records the code package {SHA1}, but what lies beside its WORKDIR is "
            "no list of hashes.",
            id="no list",
        ),
    ],
)
def test_the_content_of_an_image(listed: dict[str, list[str]], problem: str | None) -> None:
    assert problem_of(checks.check_content(SHA1, listed)) == problem


def found(**values: object) -> dict[str, Any]:
    """What the probe says of an image in which all is well."""
    return {
        "python": "3.11.7",
        "workdir": "/user/home",
        "home": "/user/home",
        "bash": "/usr/bin/bash",
        "modules": {"boto3": None, "requests": None},
        "folders": {"workdir": None, "home": None, "tmp": None},
        "metaflow": None,
        "package": {NAME: []},
        "flow": None,
        **values,
    }


def problems(image: Image, answer: dict[str, Any]) -> dict[str, str]:
    asked = [(check.name, problem_of(check)) for check in checks.check_answer(image, answer)]
    assert len({name for name, _ in asked}) == len(asked)
    return {name: problem for name, problem in asked if problem}


def test_an_image_in_which_all_is_well() -> None:
    image = an_image(STEP, labels=PROD)
    names = [check.name for check in checks.check_answer(image, found())]
    writable = ["writable-workdir", "writable-home"]
    assert names == ["python", "bash", "boto3", "requests", *writable, "package", "flow"]
    assert problems(image, found()) == {}


def test_an_image_without_code_is_not_asked_for_it() -> None:
    assert problems(an_image(STEP), found(package={}, flow="x")) == {}


@pytest.mark.parametrize(
    ("answer", "name", "problem"),
    [
        pytest.param({"bash": None}, "bash", "There is no bash.", id="bash"),
        pytest.param(
            {"modules": {"boto3": None, "requests": "ModuleNotFoundError: No module"}},
            "requests",
            "requests can't be imported: ModuleNotFoundError: No module.",
            id="module",
        ),
        pytest.param(
            {"folders": {"workdir": "Permission denied", "home": None}},
            "writable-workdir",
            "User 65534 can't write to /user/home, the image's WORKDIR: Permission denied.",
            id="WORKDIR",
        ),
        pytest.param(
            {"metaflow": "Permission denied"},
            "writable-workdir",
            "User 65534 can't write to /user/home/.metaflow, the image's WORKDIR: Permission "
            "denied.",
            id="Metaflow's folder in it",
        ),
        pytest.param(
            {"home": "", "folders": {"workdir": None, "home": "there is no such folder"}},
            "writable-home",
            "User 65534 can't write to HOME, the image's HOME: there is no such folder.",
            id="HOME that is not set",
        ),
        pytest.param(
            {"flow": "Metaflow x\n    KeyError: 'X'"},
            "flow",
            "Metaflow can't start the flow in the image:\nMetaflow x\n    KeyError: 'X'",
            id="flow",
        ),
        pytest.param(
            {"package": {NAME: ["a.py has other content"]}},
            "package",
            f"1 files are not those of the code package {SHA1}: a.py has other content.",
            id="package",
        ),
    ],
)
def test_what_is_wrong_in_an_image(answer: dict[str, Any], name: str, problem: str) -> None:
    assert problems(an_image(STEP, labels=PROD), found(**answer)) == {name: problem}


def test_an_image_without_python() -> None:
    said = 'exec: "python": executable file not found in $PATH: unknown'
    ended = Ended(
        outcome=Outcome.FAILED,
        exit_code=NOT_STARTED,
        output=said,
        started=0.0,
        seconds=0.1,
        peak_memory=None,
        out_of_memory=False,
        past_deadline=False,
        files={},
    )
    check = checks.python_missing(an_image(STEP), ended)
    assert problem_of(check) == f"The image has no program python. {said}"


@pytest.mark.parametrize(
    ("commands", "flow"),
    [
        pytest.param([STEP], ("train flow.py", "conda"), id="quoted"),
        pytest.param(['(python3 "a b.py" --quiet step)'], ("a b.py", "local"), id="double quotes"),
        pytest.param(["true && python flow.py dump"], ("flow.py", "local"), id="plain"),
        pytest.param(["./run", STEP], ("train flow.py", "conda"), id="the second step's"),
        pytest.param(["python -m metaflow.x"], ("", ""), id="a module"),
        pytest.param(["cpython flow.py x"], ("", ""), id="another program"),
    ],
)
def test_the_flow_in_commands(commands: list[str], flow: tuple[str, str]) -> None:
    assert checks.flow_of(an_image(*commands).steps) == flow


@pytest.mark.parametrize(
    ("config", "writable"),
    [
        pytest.param({}, ("/tmp",), id="nothing declared"),
        pytest.param(
            {"WorkingDir": "/user/home", "Env": ["PATH=/bin", "HOME=/user/home"]},
            ("/tmp", "/user/home"),
            id="WORKDIR is HOME",
        ),
        pytest.param(
            {"WorkingDir": "/app/", "Env": ["HOME=/root"], "Volumes": {"/data": {}}},
            ("/app", "/data", "/root", "/tmp"),
            id="three",
        ),
        pytest.param(
            {"WorkingDir": "/home/me/code", "Env": ["HOME=/home/me"], "Volumes": {"/home/me2": {}}},
            ("/home/me", "/home/me2", "/tmp"),
            id="one below another",
        ),
        pytest.param(
            {"WorkingDir": "/", "Env": ["HOME="], "Volumes": None}, ("/tmp",), id="root is not"
        ),
    ],
)
def test_the_folders_that_an_image_declares_writable(
    config: dict[str, Any], writable: tuple[str, ...]
) -> None:
    assert an_image(config=config).writable == writable
