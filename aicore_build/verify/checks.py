"""What is asked of an image before a step runs in it: `verify --quick` asks no more."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aicore_build.dockerfile import PACKAGE_HOME
from aicore_build.lock import Lock
from aicore_build.package import sums_name
from aicore_build.record import LABEL
from aicore_build.verify.argo import Step
from aicore_build.verify.explain import explain
from aicore_build.verify.images import Image
from aicore_build.verify.pods import Ended, Pod, Pods
from aicore_build.verify.report import Check, ImageReport

_PROBE = Path(__file__).with_name("probe.py")
_DOWNLOADS = re.compile(r"download_file\(.*?job\.tar|\bjob\.tar\b|\bpip3? install\b", re.DOTALL)
_SCRIPT = re.compile(r"""(?:^|[\s(])python3?\s+(?:'([^']+\.py)'|"([^"]+\.py)"|(\S+\.py))\s""")
_TIMEOUT = 300
"""Seconds that the questions to an image may take."""

_WRITE = (
    "Make it in the Dockerfile: RUN mkdir -m 777 {0}, WORKDIR {0}, ENV HOME={0}. A chmod 770 is "
    "not enough: the user is in no group of the image"
)


def check_image(image: Image, pods: Pods, platform: str, lock: Lock | None) -> ImageReport:
    """Ask an image whether the steps that it has could run in it.

    Args:
        image: in the engine.
        pods: runs the container that asks.
        platform: what AI Core has.
        lock: of the workflow template; None where it has none.
    """
    right = image.platform == platform
    checks = [
        Check(
            name="platform",
            about=f"is built for {platform}",
            problem=None if right else f"The image is for {image.platform}.",
            fix="" if right else "Build it for AI Core: the setting platform, or the base image's.",
        )
    ]
    if right:
        checks += _ask(image, pods)
        checks += check_package_record(image, lock)
    checks.append(check_commands(image))
    return ImageReport(
        reference=image.reference,
        steps=tuple(step.name for step in image.steps),
        platform=image.platform,
        size=image.size,
        checks=tuple(checks),
    )


def _ask(image: Image, pods: Pods) -> list[Check]:
    step = image.steps[0]
    script, environment = flow_of(image.steps) if image.package else ("", "")
    ended = pods.run(
        Pod(
            name=image.reference,
            image=image.id,
            command=("python",),
            args=("-c", _PROBE.read_text(encoding="utf-8"), script, environment),
            environment={v.name: v.value for v in step.variables if "{{" not in v.value},
            network="none",
            writable=None,
            deadline=_TIMEOUT,
        )
    )
    try:
        found = json.loads(ended.output.rpartition("\n")[2])
    except ValueError:
        return [python_missing(image, ended)]
    return list(check_answer(image, found))


def python_missing(image: Image, ended: Ended) -> Check:
    """What is wrong where the questions got no answer."""
    failure = explain(image.reference, ended, None, _TIMEOUT)
    return Check(
        name="python",
        about="has a python that runs as user 65534",
        problem=f"{failure.cause} {' '.join(failure.tail[-3:])}".strip(),
        fix="Install Python in the image, so that `python` is in its PATH.",
    )


def check_answer(image: Image, found: Mapping[str, Any]) -> Iterable[Check]:
    """What probe.py found, as one check for each question."""
    yield Check(name="python", about=f"has Python {found['python']}", problem=None, fix="")
    yield _check(
        "bash",
        "has bash",
        None if found["bash"] else "There is no bash.",
        "Install it: the setting apt-packages, or the base image's package manager.",
    )
    for module, why in found["modules"].items():
        yield _check(
            module,
            f"has the library {module}",
            why and f"{module} can't be imported: {why}.",
            "Install it in the image; `aicore-build dev` does. Without it a step would call pip "
            "when it starts, and Metaflow doesn't run.",
        )
    places = {"workdir": ("WORKDIR", found["workdir"]), "home": ("HOME", found["home"])}
    for name, (what, folder) in places.items():
        why = found["folders"][name]
        if name == "workdir" and why is None and found["metaflow"]:
            folder, why = f"{folder}/.metaflow", found["metaflow"]  # noqa: PLW2901
        yield _check(
            f"writable-{name}",
            f"lets user 65534 write to its {what}, {folder or 'which is not set'}",
            why and f"User 65534 can't write to {folder or what}, the image's {what}: {why}.",
            _WRITE.format(f"/{PACKAGE_HOME}" if image.package else "/home/user") + ".",
        )
    if image.package:
        yield check_content(image.package, found["package"])
        yield _check(
            "flow",
            "imports the flow without network, and Metaflow accepts it",
            found["flow"] and f"Metaflow can't start the flow in the image:\n{found['flow']}",
            "Mend what it says; what only this machine has (files, variables, libraries) has to be "
            "in the image or in @environment.",
        )


def check_content(package: str, listed: Mapping[str, list[str]]) -> Check:
    """Whether the files in the image are those of the code package that it records."""
    name = sums_name(package)
    problem = None
    if name not in listed:
        others = ", ".join(sorted(listed)) or "no list of hashes"
        problem = (
            f"The image records the code package {package}, but what lies beside its WORKDIR is "
            f"{others}."
        )
    elif listed[name]:
        shown = "; ".join(listed[name][:5])
        problem = f"{len(listed[name])} files are not those of the code package {package}: {shown}."
    return _check(
        "package",
        f"holds the code package {package[:12]}, each file by its hash",
        problem,
        "Make the image again: `aicore-build prod --force`.",
    )


def check_package_record(image: Image, lock: Lock | None) -> Iterable[Check]:
    """Whether the code package that it records is the one that the lock, or its tag, names."""
    expected = _expected_package(image.reference, lock)
    if image.package is None or expected is None:
        return
    yield _check(
        "recorded-package",
        "has the code package that it was to have",
        None
        if image.package.startswith(expected)
        else f"The image has the code package {image.package}, but was to have {expected}.",
        "Run `aicore-build prod` again, and commit the workflow template and the lock together.",
    )


def _expected_package(reference: str, lock: Lock | None) -> str | None:
    """The sha1 of the package, or its first digits."""
    if lock:
        return lock.package_sha1
    found = re.search(r"(?:-|:)prod-([0-9a-f]{12})@", reference)
    return found[1] if found else None


def check_commands(image: Image) -> Check:
    """Whether the code comes from where it is."""
    texts = {step.name: " ".join((*step.command, *step.args)) for step in image.steps}
    fetching = [name for name, text in texts.items() if _DOWNLOADS.search(text)]
    metaflows = [name for name, text in texts.items() if _script_in(text)]
    problem, fix = None, ""
    if image.package and fetching:
        problem = (
            f"The code is in the image, but the commands of {', '.join(fetching)} download it or "
            "run pip."
        )
        fix = "Write the workflow template again with `aicore-build prod`."
    elif not image.package and metaflows and not fetching and LABEL in image.labels:
        problem = f"The image has no code in it, and {', '.join(metaflows)} fetch none."
        fix = "Write the workflow template again with `aicore-build prod`, or with `dev`."
    about = "has the code, which no command fetches" if image.package else "gets its code"
    return Check(name="commands", about=about, problem=problem, fix=fix)


def flow_of(steps: Iterable[Step]) -> tuple[str, str]:
    """The flow's file and Metaflow's environment, as the commands have them; else empty."""
    for step in steps:
        text = " ".join((*step.command, *step.args))
        if script := _script_in(text):
            environment = re.search(r"--environment=([\w-]+)", text)
            return script, environment[1] if environment else "local"
    return "", ""


def _script_in(text: str) -> str:
    match = _SCRIPT.search(text)
    return next((group for group in match.groups() if group), "") if match else ""


def _check(name: str, about: str, problem: str | None, fix: str) -> Check:
    return Check(name=name, about=about, problem=problem or None, fix=fix if problem else "")
