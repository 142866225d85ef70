import copy
import json
from typing import Any

import pytest

from aicore_build.errors import FlowError, GeneratorError, SettingsError
from aicore_build.settings import Settings, StepSettings
from aicore_build.workflow import (
    RESOURCE_PLAN,
    Json,
    complete,
    container_templates,
    plan_completion,
    render_json,
    template_name,
)
from tests.unit.make import DIGEST, make_flow, make_step, recorded, sweep_flow

MANDATORY: dict[str, Any] = {"scenario_id": "sweeps", "scenario_name": "Sweeps", "version": "1.0"}
IMAGES = {
    step: f"registry.example.com/acme/{step}:v1@{DIGEST}"
    for step in ("start", "train_model", "join", "end")
}


def completed(generated: Json | None = None, **settings: Any) -> Json:  # noqa: ANN401 - any setting
    completion = plan_completion(sweep_flow(), Settings(**MANDATORY, **settings))
    return complete(generated or recorded("embedded"), completion, IMAGES)


def containers(document: Json) -> dict[str, Json]:
    return {t["name"]: t["container"] for t in container_templates(document)}


def pod_labels(document: Json) -> dict[str, dict[str, Any]]:
    return {t["name"]: t["metadata"]["labels"] for t in container_templates(document)}


def all_labels(document: Json) -> list[dict[str, Any]]:
    return [
        document["metadata"]["labels"],
        document["spec"]["workflowMetadata"]["labels"],
        *pod_labels(document).values(),
    ]


def env(document: Json, step: str) -> dict[str, Any]:
    return {variable["name"]: variable["value"] for variable in containers(document)[step]["env"]}


def test_the_mandatory_labels_and_annotations() -> None:
    metadata = completed()["metadata"]
    assert metadata["labels"]["scenarios.ai.sap.com/id"] == "sweeps"
    assert metadata["labels"]["ai.sap.com/version"] == "1.0"
    assert metadata["annotations"]["scenarios.ai.sap.com/name"] == "Sweeps"
    assert metadata["annotations"]["executables.ai.sap.com/name"] == "sweepflow"


def test_what_the_generator_wrote_there_stays() -> None:
    metadata = completed()["metadata"]
    assert metadata["name"] == "sweepflow"
    assert metadata["labels"]["app"] == "metaflow"
    assert metadata["annotations"]["metaflow/flow_name"] == "SweepFlow"


def test_further_labels_and_annotations_may_hold_what_the_plugins_flags_cannot() -> None:
    url = "https://example.com/a?b={c}"
    metadata = completed(labels={"team": "Data_1"}, annotations={"docs.example.com/url": url})[
        "metadata"
    ]
    assert metadata["labels"]["team"] == "Data_1"
    assert metadata["annotations"]["docs.example.com/url"] == url


def test_mandatory_ones_beat_further_ones() -> None:
    metadata = completed(
        labels={"ai.sap.com/version": "0"}, annotations={"scenarios.ai.sap.com/name": "0"}
    )["metadata"]
    assert metadata["labels"]["ai.sap.com/version"] == "1.0"
    assert metadata["annotations"]["scenarios.ai.sap.com/name"] == "Sweeps"


def test_the_executables_name_can_be_set() -> None:
    annotations = completed(executable_name="Sweep: rates")["metadata"]["annotations"]
    assert annotations["executables.ai.sap.com/name"] == "Sweep: rates"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        pytest.param({}, "scenario-id, scenario-name, version", id="all"),
        pytest.param({"scenario_name": "S"}, "scenario-id, version", id="two"),
        pytest.param({**MANDATORY, "version": ""}, "version", id="empty"),
    ],
)
def test_missing_settings_are_named_all_at_once(given: dict[str, Any], missing: str) -> None:
    with pytest.raises(SettingsError) as refused:
        plan_completion(sweep_flow(), Settings(**given))
    assert f"what is not set: {missing}.\n" in str(refused.value)
    assert all(f"--{key} …" in str(refused.value) for key in missing.split(", "))


def test_each_container_gets_the_object_store_secret() -> None:
    for container in containers(completed(object_store_secret="my-store")).values():
        assert {"secretRef": {"name": "my-store"}} in container["envFrom"]


def test_secrets_of_the_step_stay_and_none_is_there_twice() -> None:
    once = completed()
    expected = [
        {"secretRef": {"name": "tracking-secret"}},
        {"secretRef": {"name": "default-object-store-secret"}},
    ]
    assert containers(once)["train-model"]["envFrom"] == expected
    assert containers(completed(once))["train-model"]["envFrom"] == expected
    assert (
        len(containers(completed(object_store_secret="tracking-secret"))["train-model"]["envFrom"])
        == 1
    )


def test_image_pull_secrets() -> None:
    assert "imagePullSecrets" not in completed()["spec"]
    generated = recorded("embedded")
    generated["spec"]["imagePullSecrets"] = [{"name": "one"}]
    spec = completed(generated, image_pull_secrets=("two", "one", "two"))["spec"]
    assert spec["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]


def test_each_container_gets_the_image_of_its_step() -> None:
    found = {name: container["image"] for name, container in containers(completed()).items()}
    assert found == {template_name(step): image for step, image in IMAGES.items()}


def test_the_case_of_argo_labels_is_kept() -> None:
    assert pod_labels(recorded("embedded"))["train-model"]["team"] == "data-science"
    assert pod_labels(completed())["train-model"]["team"] == "Data_Science"


@pytest.mark.parametrize(
    ("settings", "start", "train_model"),
    [
        pytest.param({}, None, "train.l", id="of @argo"),
        pytest.param({"resource_plan": "starter"}, "starter", "train.l", id="@argo beats all"),
        pytest.param(
            {
                "resource_plan": "starter",
                "steps": {
                    "train_model": StepSettings(resource_plan="infer.s"),
                    "start": StepSettings(resource_plan="basic.8x"),
                },
            },
            "basic.8x",
            "infer.s",
            id="a step's setting beats @argo",
        ),
        pytest.param(
            {"resource_plan": "starter", "steps": {"start": StepSettings()}},
            "starter",
            "train.l",
            id="a step's setting without one",
        ),
    ],
)
def test_resource_plans(settings: dict[str, Any], start: str | None, train_model: str) -> None:
    labels = pod_labels(completed(**settings))
    assert labels["start"].get(RESOURCE_PLAN) == start
    assert labels["train-model"][RESOURCE_PLAN] == train_model
    assert labels["train-model"]["team"] == "Data_Science"


def test_label_values_that_kubernetes_refuses_are_made_valid() -> None:
    generated = recorded("embedded")
    for labels in all_labels(generated):
        labels["long"] = f"@{'a' * 60}_._b"
        labels["number"] = 1
    for labels in all_labels(completed(generated)):
        assert labels["app.kubernetes.io/created-by"] == "jane.doe-example.com"
        assert labels["long"] == "a" * 60
        assert labels["number"] == "1"
        assert labels["app"] == "metaflow"


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"scenario_id": "my scenario"}, id="space"),
        pytest.param({"scenario_id": "a" * 64}, id="long"),
        pytest.param({"scenario_id": "-a"}, id="begins with a hyphen"),
        pytest.param({"version": "1.0."}, id="ends with a dot"),
        pytest.param({"version": "1.0+b"}, id="plus"),
        pytest.param({"labels": {"team": "a:b"}}, id="further label"),
        pytest.param({"labels": {"a b": "x"}}, id="key with a space"),
        pytest.param({"labels": {"a/b/c": "x"}}, id="key with two slashes"),
        pytest.param({"labels": {"Upper.Example/b": "x"}}, id="upper case domain"),
        pytest.param({"labels": {"a" * 64: "x"}}, id="long key"),
        pytest.param({"annotations": {"": "x"}}, id="no key"),
        pytest.param({"resource_plan": "train l"}, id="resource plan"),
    ],
)
def test_a_label_of_the_user_that_kubernetes_refuses_is_an_error(settings: dict[str, Any]) -> None:
    loaded = Settings(**{**MANDATORY, **settings})
    with pytest.raises(SettingsError, match=r"can't have the value|is not a valid name"):
        plan_completion(sweep_flow(), loaded)


def test_an_annotation_may_have_any_value() -> None:
    settings = Settings(**MANDATORY, annotations={"a.example/b": "any: {value}\n" * 100})
    plan_completion(sweep_flow(), settings)


def test_argo_labels_that_are_no_dict_are_refused() -> None:
    flow = make_flow(make_step("start", argo={"labels": ["a:b"]}))
    with pytest.raises(FlowError, match="@argo at step start are not a dict"):
        plan_completion(flow, Settings(**MANDATORY))


def test_values_of_the_environment_are_text() -> None:
    variables = containers(recorded("embedded"))["start"]["env"]
    assert {"name": "THREADS", "value": 2} in variables
    assert {"name": "EMPTY"} in variables
    found = env(completed(), "start")
    assert found["THREADS"] == "2"
    assert found["EMPTY"] == ""
    assert found["MODE"] == "fast"
    assert found["METAFLOW_DATASTORE_SYSROOT_S3"] == "s3://aicore-build-sandbox/metaflow"


def test_a_variable_from_a_field_stays_as_it_is() -> None:
    generated = recorded("embedded")
    variable = {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    containers(generated)["start"]["env"].append(variable)
    assert variable in containers(completed(generated))["start"]["env"]


def test_the_key_of_metaflows_service_is_left_out() -> None:
    assert "key-of-the-service" in json.dumps(recorded("embedded"))
    assert "key-of-the-service" not in json.dumps(completed())
    assert not any(
        "METADATA_SERVICE_HEADERS" in env(completed(), step) for step in containers(completed())
    )


def test_containers_that_are_not_the_steps_are_refused() -> None:
    completion = plan_completion(sweep_flow(), Settings(**MANDATORY))
    fewer = {step: image for step, image in IMAGES.items() if step != "join"}
    for images in (fewer, {**IMAGES, "extra": "x"}, {**fewer, "joined": "x"}):
        with pytest.raises(GeneratorError, match="are not the steps"):
            complete(recorded("embedded"), completion, images)


def test_steps_whose_names_become_one_are_refused() -> None:
    completion = plan_completion(sweep_flow(), Settings(**MANDATORY))
    with pytest.raises(GeneratorError, match="differ in more than case and '_'"):
        complete(recorded("embedded"), completion, {**IMAGES, "Train_Model": "x"})


def test_only_what_is_to_be_completed_changes() -> None:
    document, generated = completed(), recorded("embedded")
    for template, before in zip(
        document["spec"]["templates"], generated["spec"]["templates"], strict=True
    ):
        if "container" in template:
            if template["name"] == "start":  # see test_parameters.py
                before["container"]["args"] = template["container"]["args"]
            for key in ("image", "env", "envFrom"):
                template["container"].pop(key)
                before["container"].pop(key, None)
            template["metadata"].pop("labels")
            before["metadata"].pop("labels")
        assert template == before
    _, target = generated["spec"]["arguments"]["parameters"]
    target["value"] = ""  # nobody has to give it
    assert document["spec"]["arguments"] == generated["spec"]["arguments"]


def test_the_input_stays_as_it_is() -> None:
    generated = recorded("embedded")
    before = copy.deepcopy(generated)
    completed(generated, image_pull_secrets=("s",), labels={"a": "b"}, resource_plan="starter")
    assert generated == before


def reverse_labels(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        return [reverse_labels(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: reverse_labels(item) for key, item in value.items()}
    if "labels" in found:
        found["labels"] = dict(reversed(found["labels"].items()))
    return found


def test_the_output_does_not_depend_on_the_order_of_labels() -> None:
    generated = recorded("embedded")
    other = reverse_labels(generated)
    assert json.dumps(other) != json.dumps(generated)
    assert render_json(completed(other)) == render_json(completed(generated))


def test_completing_twice_changes_nothing() -> None:
    once = completed(image_pull_secrets=("s",), resource_plan="starter")
    assert completed(once, image_pull_secrets=("s",), resource_plan="starter") == once


def test_the_file_is_json_with_the_text_as_it_is() -> None:
    document = completed(executable_name="Größe")
    text = render_json(document)
    assert json.loads(text) == document
    assert "Größe" in text
    assert text.endswith("}\n")


def test_zero_in_the_environment_stays_zero() -> None:
    assert env(completed(), "start")["SEED"] == "0"


def test_artifacts_of_argo_are_described() -> None:
    step = make_step(
        "train",
        argo={
            "input_artifacts": [{"name": "prices", "path": "/tmp/prices"}],
            "output_artifacts": [
                {"name": "out", "globalName": "housing", "path": "/tmp/out"},
                {"name": "unregistered", "path": "/tmp/more"},
            ],
        },
    )
    own = {"artifacts.ai.sap.com/housing.kind": "resultset", "artifacts.ai.sap.com/housing.x": "y"}
    settings = Settings(**MANDATORY, annotations=own)
    annotations = plan_completion(make_flow(step), settings).annotations
    assert {k: v for k, v in annotations.items() if k.startswith("artifacts")} == {
        "artifacts.ai.sap.com/prices.kind": "dataset",
        "artifacts.ai.sap.com/prices.name": "prices",
        "artifacts.ai.sap.com/housing.kind": "resultset",
        "artifacts.ai.sap.com/housing.name": "out",
        "artifacts.ai.sap.com/housing.x": "y",
    }


@pytest.mark.parametrize("artifacts", [{"name": "a"}, ["a"], "a"], ids=["dict", "texts", "text"])
def test_artifacts_that_are_no_list_of_dicts(artifacts: object) -> None:
    flow = make_flow(make_step("train", argo={"input_artifacts": artifacts}))
    with pytest.raises(FlowError, match="input_artifacts of @argo at step train are not a list"):
        plan_completion(flow, Settings(**MANDATORY))
