import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aicore_build.errors import GeneratorError
from aicore_build.generators.neutral import TOKEN, make_neutral
from aicore_build.workflow import Json, container_templates
from tests.unit.make import recorded

USER = "jane.doe@example.com"


def neutral(document: Json | None = None, *, keep_resources: bool = False) -> Json:
    given = recorded("native") if document is None else document
    return make_neutral(given, "NativeFlow", keep_resources=keep_resources)


def every(part: Any) -> Iterator[Any]:  # noqa: ANN401
    """A JSON document and all that is in it."""
    yield part
    for value in (
        part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    ):
        yield from every(value)


def keys(part: Json) -> set[str]:
    return {key for each in every(part) if isinstance(each, dict) for key in each}


def variables(document: Json, template: str) -> dict[str, Any]:
    [found] = [t for t in container_templates(document) if t["name"] == template]
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in found["container"]["env"]}


def test_the_recording_has_what_has_to_go() -> None:
    """Else the tests below could not fail."""
    document = recorded("native")
    text = json.dumps(document)
    for part in (USER, "deployment_timestamp", "production_token", "ARGO_EVENTS", "nativeflow-0-"):
        assert part in text
    assert None in list(every(document))
    assert {"hooks", "namespace", "nodeSelector", "resources"} <= keys(document)


def test_what_has_to_go_is_gone_everywhere() -> None:
    document = neutral()
    text = json.dumps(document)
    for part in (
        USER,
        "metaflow/owner",
        "metaflow/user",
        "deployment_timestamp",
        "production_token",
        "METAFLOW_PRODUCTION_TOKEN",
        "METAFLOW_ARGO_EVENTS_",
        "nativeflow-0-",  # how the token begins
    ):
        assert part not in text, part
    assert None not in list(every(document))
    gone = {"hooks", "onExit", "namespace", "nodeSelector", "resources", "terminationMessagePolicy"}
    assert gone & keys(document) == set()
    assert all("name" not in t["container"] for t in container_templates(document))


def test_what_steps_need_stays() -> None:
    before, after = recorded("native"), neutral()
    assert after["metadata"]["name"] == "nativeflow"
    for key in ("entrypoint", "parallelism"):
        assert after["spec"][key] == before["spec"][key]
    parameters = after["spec"]["arguments"]["parameters"]
    assert parameters == [{"name": "rounds", "value": "3"}, {"name": "target", "value": "null"}]
    assert [t["name"] for t in after["spec"]["templates"]] == [
        t["name"] for t in before["spec"]["templates"]
    ]
    for part in (
        after["metadata"],
        after["spec"]["podMetadata"],
        after["spec"]["workflowMetadata"],
    ):
        assert part["annotations"]["metaflow/flow_name"] == "NativeFlow"
    [train] = [t for t in container_templates(after) if t["name"] == "train-model"]
    assert train["retryStrategy"]["limit"] == 2
    assert train["container"]["envFrom"] == [{"secretRef": {"name": "tracking-secret"}}]
    assert train["volumes"] == [{"name": "out", "emptyDir": {}}]
    assert train["container"]["volumeMounts"] == [{"name": "out", "mountPath": "/mnt/out"}]
    assert train["outputs"]["parameters"][0]["valueFrom"] == {"path": "/mnt/out/task_id"}


def test_variables_that_steps_read_stay() -> None:
    found = variables(neutral(), "start")
    assert (found["THREADS"], found["EMPTY"]) == ("2", "")
    assert found["ARGO_WORKFLOW_NAMESPACE"] == ""  # without it, each task fails with a KeyError
    assert found["METAFLOW_CODE_URL"].endswith(found["METAFLOW_CODE_SHA"])
    reference = {"fieldRef": {"fieldPath": "metadata.name"}}
    assert found["METAFLOW_KUBERNETES_POD_NAME"] == reference
    assert (found["METAFLOW_OWNER"], found["USER"]) == (TOKEN, TOKEN)
    before = json.loads(variables(recorded("native"), "start")["METAFLOW_VERSION"])
    after = json.loads(found["METAFLOW_VERSION"])
    assert before.keys() - after.keys() == {"username", "production_token"}
    assert after.items() <= before.items()


def test_commands_are_as_ai_core_has_them() -> None:
    for before, after in zip(
        container_templates(recorded("native")), container_templates(neutral()), strict=True
    ):
        old, new = before["container"]["command"], after["container"]
        assert new["command"] == ["bash"]
        assert new["args"][0] == "-c"
        if before["name"] == "start":
            [name] = set(re.findall(r"set_parameters (\w+)", old[2]))
            assert name not in new["args"][1]
            assert new["args"][1].count("aicore_build_parameters") == 2
        else:
            assert new["args"][1] == old[2]


def test_arguments_that_are_there_stay_behind_those_of_the_command() -> None:
    document = recorded("native")
    container = next(container_templates(document))["container"]
    container["args"] = ["more"]
    text = container["command"][2]
    assert next(container_templates(neutral(document)))["container"]["args"] == ["-c", text, "more"]


def test_resources_stay_if_the_settings_say_so() -> None:
    document = neutral(keep_resources=True)
    found = {
        t["name"]: t["container"]["resources"]["requests"] for t in container_templates(document)
    }
    assert found["train-model"] | {"cpu": "2", "memory": "2048M"} == found["train-model"]
    assert found["start"]["memory"] == "4096M"


def test_volumes_that_nothing_mounts_go_and_a_shared_memory_that_is_mounted_stays() -> None:
    document = recorded("native")
    first, second, *_ = container_templates(document)
    assert [v["name"] for v in first["volumes"]] == ["out", "dhsm"]
    first["container"]["volumeMounts"] = None
    second["container"]["volumeMounts"].append({"name": "dhsm", "mountPath": "/dev/shm"})
    first, second, *_ = container_templates(neutral(document))
    assert "volumes" not in first
    assert [v["name"] for v in second["volumes"]] == ["out", "dhsm"]


def test_where_and_as_whom_pods_run_goes() -> None:
    document = recorded("native")
    for template in container_templates(document):
        template["serviceAccountName"] = "robot"
        template["tolerations"] = [{"key": "gpu", "operator": "Exists"}]
        template["nodeSelector"] = {"zone": "a"}
    assert neutral(document) == neutral()


def test_pull_secrets_of_single_pods_are_those_of_all() -> None:
    document = recorded("native")
    for names, template in zip(
        (("a", "b"), ("b",), ()), container_templates(document), strict=False
    ):
        secrets = [{"name": name} for name in names]
        template["podSpecPatch"] = json.dumps({"imagePullSecrets": secrets})
    made = neutral(document)
    assert made["spec"].pop("imagePullSecrets") == [{"name": "a"}, {"name": "b"}]
    assert made == neutral()


def test_two_recordings_of_one_flow_become_equal() -> None:
    """By another user, at another moment, with another token and file of parameters."""
    text = json.dumps(recorded("native"))
    for pattern, other in (
        (re.escape(USER), "john"),
        (r"2026-\d\d-\d\dT[\d:.]+", "2027-01-01T00:00:00.000000"),
        (r"nativeflow-0-\w+", "nativeflow-7-abcd"),
        (r"\b{}\b".format(re.findall(r"set_parameters (\w+)", text)[0]), "zzyyxxwwvv"),
    ):
        text, count = re.subn(pattern, other, text)
        assert count > 1
    other = json.loads(text)
    assert other != recorded("native")
    assert json.dumps(neutral(other)) == json.dumps(neutral())


def test_what_is_given_stays_as_it_is() -> None:
    document = recorded("native")
    neutral(document)
    assert document == recorded("native")


def test_what_is_neutral_stays_as_it_is() -> None:
    once = neutral()
    again = copy.deepcopy(once)
    for template in container_templates(again):  # as Metaflow has it
        container = template["container"]
        container["command"] += container.pop("args")
    assert neutral(again) == once


def test_a_name_has_no_dots() -> None:
    document = recorded("native")
    document["metadata"]["name"] = "prices.test.main.nativeflow"
    assert neutral(document)["metadata"]["name"] == "prices-test-main-nativeflow"


REFUSED: dict[str, Callable[[Json], object]] = {
    "an exit handler": lambda spec: spec.update(onExit="exit-hook"),
    "a service account": lambda spec: spec.update(serviceAccountName="robot"),
    "synchronization": lambda spec: spec.update(synchronization={"mutex": {"name": "m"}}),
    "pod garbage collection": lambda spec: spec.update(podGC={"strategy": "OnPodSuccess"}),
    "hooks": lambda spec: spec.update(hooks={"running": {"template": "beat"}}),
    "the resource template x": lambda spec: spec["templates"].append({"name": "x", "resource": {}}),
    "the http template x": lambda spec: spec["templates"].append({"name": "x", "http": {}}),
    "the script template x": lambda spec: spec["templates"].append({"name": "x", "script": {}}),
    "the daemon template x": lambda spec: spec["templates"].append({"name": "x", "daemon": True}),
    "a podSpecPatch of end": lambda spec: next(
        t for t in spec["templates"] if t["name"] == "end"
    ).update(podSpecPatch='{"hostNetwork": true}'),
    "further containers of end": lambda spec: next(
        t for t in spec["templates"] if t["name"] == "end"
    ).update(sidecars=[{"name": "proxy"}]),
    "further containers of join": lambda spec: next(
        t for t in spec["templates"] if t["name"] == "join"
    ).update(initContainers=[{"name": "wait"}]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_ai_core_cannot_run_is_refused_by_name(what: str) -> None:
    document = recorded("native")
    REFUSED[what](document["spec"])
    with pytest.raises(GeneratorError, match=rf"of NativeFlow has .* can't run: {what}\.\n"):
        neutral(document)


def test_all_that_is_refused_is_named() -> None:
    document = recorded("native")
    for change in REFUSED.values():
        change(document["spec"])
    with pytest.raises(GeneratorError) as refused:
        neutral(document)
    assert all(what in str(refused.value) for what in REFUSED)
