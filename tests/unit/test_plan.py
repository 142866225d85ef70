from dataclasses import replace
from pathlib import Path

import pytest

from aicore_build.errors import FlowError, GeneratorError, SettingsError
from aicore_build.flow import Step
from aicore_build.plan import (
    Environment,
    ImagePlan,
    flow_notes,
    plan_dev_builds,
    plan_images,
    unused_settings,
)
from aicore_build.settings import GeneratorName, ImageSettings, Settings, StepSettings
from tests.unit.make import CPU, DIGEST, GPU, OTHER_DIGEST, SHA1, make_flow, make_step, sweep_flow

NEEDED = ("sap-ai-core-metaflow==1.1.22", "awscli", "boto3", "requests")


def plan_one(image: str, settings: Settings) -> ImagePlan:
    (plan,) = plan_images(make_flow(images={"start": image}), settings)
    return plan


def prod(image: str, registry: str | None = None) -> str:
    return str(plan_one(image, Settings(registry=registry)).prod_reference(SHA1))


def test_steps_that_share_an_image_share_its_plan() -> None:
    cpu, gpu = plan_images(sweep_flow(), Settings())
    assert (str(cpu.reference), cpu.steps) == (CPU, ("start", "join", "end"))
    assert (str(gpu.reference), gpu.steps) == (GPU, ("train_model",))


def test_two_ways_to_write_a_reference_are_one_image() -> None:
    flow = make_flow(images={"start": "python", "end": "docker.io/library/python:latest"})
    (plan,) = plan_images(flow, Settings())
    assert plan.steps == ("start", "end")


def test_equal_inputs_give_equal_plans() -> None:
    assert plan_images(sweep_flow(), Settings()) == plan_images(sweep_flow(), Settings())


def test_an_image_has_what_the_bootstrap_needs_and_what_the_user_adds() -> None:
    settings = Settings(requirements=("torch==2.4",), apt_packages=("git",))
    assert plan_one(CPU, settings).environment == Environment(
        base_image="python:3.11-slim",
        requirements=(*NEEDED, "torch==2.4"),
        apt_packages=("git",),
    )


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        pytest.param(
            ImageSettings(base_image="ubuntu:24.04"),
            Environment(
                base_image="ubuntu:24.04", requirements=(*NEEDED, "all"), apt_packages=("git",)
            ),
            id="base image",
        ),
        pytest.param(
            ImageSettings(requirements=("own",)),
            Environment(base_image="base", requirements=(*NEEDED, "own"), apt_packages=("git",)),
            id="libraries in place of those of all",
        ),
        pytest.param(
            ImageSettings(requirements=(), apt_packages=()),
            Environment(base_image="base", requirements=NEEDED),
            id="none of those of all",
        ),
        pytest.param(
            ImageSettings(dockerfile=Path("Dockerfile.own"), base_image="x", requirements=("x",)),
            Environment(base_image="", dockerfile=Path("Dockerfile.own")),
            id="a Dockerfile is all there is to it",
        ),
    ],
)
@pytest.mark.parametrize(
    "key", [pytest.param(GPU, id="exact"), pytest.param("*/sweep-gpu:*", id="pattern")]
)
def test_an_image_has_what_is_its_own(key: str, own: ImageSettings, expected: Environment) -> None:
    settings = Settings(
        base_image="base", requirements=("all",), apt_packages=("git",), images={key: own}
    )
    cpu, gpu = plan_images(sweep_flow(), settings)
    assert gpu.environment == expected
    assert cpu.environment == Environment(
        base_image="base", requirements=(*NEEDED, "all"), apt_packages=("git",)
    )


def test_images_with_equal_environments_are_built_once() -> None:
    images = plan_images(sweep_flow(), Settings())
    (build,) = plan_dev_builds(images)
    assert build.images == images
    assert build.environment == images[0].environment


def test_images_with_environments_of_their_own_are_built_apart() -> None:
    settings = Settings(images={GPU: ImageSettings(requirements=("torch",))})
    flow = make_flow(images={"start": CPU, "train": GPU, "end": "registry.example.com/acme/end:1"})
    cpu, gpu, end = plan_images(flow, settings)
    assert [build.images for build in plan_dev_builds((cpu, gpu, end))] == [(cpu, end), (gpu,)]


@pytest.mark.parametrize(
    ("registry", "image", "built"),
    [
        pytest.param(None, "docker.io/acme/train:v1", True, id="no registry"),
        pytest.param("reg.io", "reg.io/acme/train:v1", True, id="host"),
        pytest.param("reg.io/", "reg.io/acme/train:v1", True, id="host with a slash"),
        pytest.param("reg.io", "reg.io.example/acme/train:v1", False, id="host's boundary"),
        pytest.param("reg.io", "acme/train:v1", False, id="other host"),
        pytest.param("reg.io/acme", "reg.io/acme/train:v1", True, id="path"),
        pytest.param("reg.io/acme", "reg.io/acme2/train:v1", False, id="path's boundary"),
        pytest.param("reg.io/acme", "reg.io/other/train:v1", False, id="other path"),
        pytest.param("localhost:5000", "localhost:5000/train:v1", True, id="port"),
        pytest.param("localhost:5000", "localhost:5001/train:v1", False, id="other port"),
        pytest.param("localhost", "localhost/train:v1", True, id="localhost"),
        pytest.param("acme", "acme/train:v1", True, id="Hub account"),
        pytest.param("acme", "docker.io/acme/train:v1", True, id="Hub account in full"),
        pytest.param("docker.io/acme", "acme/train:v1", True, id="Hub with its host"),
        pytest.param("acme", "acme2/train:v1", False, id="Hub account's boundary"),
        pytest.param("acme", "python:3.11", False, id="official image"),
        pytest.param("docker.io", "acme/train:v1", True, id="all of Hub"),
    ],
)
def test_only_images_under_the_registry_are_built(
    registry: str | None, image: str, *, built: bool
) -> None:
    plan = plan_one(image, Settings(registry=registry))
    assert (plan.environment is not None) is built
    assert len(plan_dev_builds((plan,))) == built


def test_an_image_given_by_digest_is_used_as_it_is() -> None:
    assert plan_one(f"reg.io/acme/train:v1@{DIGEST}", Settings()).environment is None


@pytest.mark.parametrize(
    ("image", "registry", "expected"),
    [
        pytest.param("reg.io/a/b:v1", None, "reg.io/a/b:v1-prod-b93e36453c02", id="beside"),
        pytest.param("reg.io/a/b", None, "reg.io/a/b:latest-prod-b93e36453c02", id="no tag"),
        pytest.param(f"reg.io/a/b@{DIGEST}", None, "reg.io/a/b:prod-b93e36453c02", id="digest"),
        pytest.param(
            f"reg.io/a/b:v1@{DIGEST}", None, "reg.io/a/b:v1-prod-b93e36453c02", id="tag and digest"
        ),
        pytest.param(
            "reg.io/acme/a/b:v1", "reg.io/acme", "reg.io/acme/a/b:v1-prod-b93e36453c02", id="under"
        ),
        pytest.param(
            "other.io/a/b:v1", "reg.io/acme", "reg.io/acme/a-b:v1-prod-b93e36453c02", id="flat"
        ),
        pytest.param(
            "other.io/a/b:v1", "reg.io", "reg.io/a-b:v1-prod-b93e36453c02", id="host only"
        ),
        pytest.param(
            "python:3", "acme", "docker.io/acme/python:3-prod-b93e36453c02", id="official"
        ),
        pytest.param(
            "acme2/b:v1", "acme", "docker.io/acme/acme2-b:v1-prod-b93e36453c02", id="boundary"
        ),
    ],
)
def test_where_the_prod_image_goes(image: str, registry: str | None, expected: str) -> None:
    assert prod(image, registry) == expected


@pytest.mark.parametrize(
    ("images", "registry"),
    [
        pytest.param(("one.io/a/b:1", "two.io/a/b:1"), "reg.io", id="of two registries"),
        pytest.param(("one.io/a/b-c:1", "one.io/a-b/c:1"), "reg.io", id="flat"),
        pytest.param((f"reg.io/a@{DIGEST}", f"reg.io/a@{OTHER_DIGEST}"), None, id="two digests"),
        pytest.param(("reg.io/a:1", f"reg.io/a:1@{DIGEST}"), None, id="tag and digest"),
    ],
)
def test_two_prod_images_in_one_place_are_refused(
    images: tuple[str, str], registry: str | None
) -> None:
    flow = make_flow(images={"start": images[0], "end": images[1]})
    with pytest.raises(SettingsError, match="would both be pushed") as refused:
        plan_images(flow, Settings(registry=registry))
    assert all(image in str(refused.value) for image in images)


def test_a_step_without_an_image_gets_the_default() -> None:
    flow = make_flow(images={"start": None, "end": CPU})
    plans = plan_images(flow, Settings(default_image=GPU))
    assert [(str(plan.reference), plan.steps) for plan in plans] == [
        (GPU, ("start",)),
        (CPU, ("end",)),
    ]


def test_a_step_without_an_image_and_no_default() -> None:
    flow = make_flow(images={"start": CPU, "train_model": None})
    with pytest.raises(FlowError, match=r"^Step train_model names no image\.\n.*default-image"):
        plan_images(flow, Settings())


def test_an_image_that_is_no_reference_is_refused_with_its_step() -> None:
    with pytest.raises(FlowError, match="image of step start: 'Acme/Train' is not an image"):
        plan_one("Acme/Train", Settings())


def test_a_missing_plugin() -> None:
    flow = make_flow(images={"start": CPU}, plugin_version=None)
    with pytest.raises(
        GeneratorError, match="/venv/bin/python -m pip install sap-ai-core-metaflow"
    ):
        plan_images(flow, Settings(generator=GeneratorName.SAP))


def test_a_metaflow_that_is_too_old_to_generate() -> None:
    flow = make_flow(images={"start": CPU}, plugin_version=None)
    for settings in (Settings(), Settings(generator=GeneratorName.METAFLOW)):
        with pytest.raises(GeneratorError, match=r"Metaflow 2\.12\.25 can't generate"):
            plan_images(flow, settings)


@pytest.mark.parametrize(
    ("version", "enough"),
    [
        ("2.19.16", False),
        ("2.19", False),
        ("2.19.17", True),
        ("2.19.39+git1a2b", True),
        ("2.20", True),
        ("3.0.0rc1", True),
    ],
)
def test_metaflow_generates_without_a_cluster_since(version: str, *, enough: bool) -> None:
    flow = replace(make_flow(images={"start": CPU}), metaflow_version=version)
    settings = Settings(generator=GeneratorName.METAFLOW)
    if enough:
        assert plan_images(flow, settings)
        return
    with pytest.raises(GeneratorError, match=r"Install 2\.19\.17 or newer"):
        plan_images(flow, settings)


def test_upstream_metaflow_is_in_the_image_instead_of_the_plugin() -> None:
    flow = replace(make_flow(images={"start": CPU}), metaflow_version="2.19.39")
    (plan,) = plan_images(flow, Settings(generator=GeneratorName.METAFLOW))
    assert plan.environment
    assert plan.environment.requirements[0] == "metaflow==2.19.39"


def test_settings_without_effect_are_named() -> None:
    flow = make_flow(make_step("start"), make_step("train_model", GPU))
    settings = Settings(
        images={GPU: ImageSettings(), "*/sweep-cpu:*": ImageSettings(), "x/*": ImageSettings()},
        steps={"start": StepSettings(), "train-model": StepSettings(), "zzz": StepSettings()},
    )
    assert unused_settings(flow, settings) == (
        "steps.train-model is set, but the flow has no such step. Did you mean train_model?",
        "steps.zzz is set, but the flow has no such step.",
        'images."x/*" is set, but matches no image of the flow.',
    )


def test_a_tag_without_room_for_the_prod_tag_is_refused() -> None:
    longest = 128 - len("-prod-") - 12
    (plan,) = plan_images(make_flow(images={"start": f"r.io/a:{'t' * longest}"}), Settings())
    assert len(plan.prod_reference(SHA1).tag) == 128
    with pytest.raises(FlowError, match="too long"):
        plan_images(make_flow(images={"start": f"r.io/a:{'t' * (longest + 1)}"}), Settings())


def test_an_image_spelled_in_two_ways_has_its_settings_by_either() -> None:
    flow = make_flow(images={"start": "acme/t:1", "end": "docker.io/acme/t:1"})
    settings = Settings(images={"docker.io/acme/t:1": ImageSettings(base_image="cuda")})
    (plan,) = plan_images(flow, settings)
    assert plan.environment == Environment(base_image="cuda", requirements=NEEDED)
    assert unused_settings(flow, settings) == ()


def test_a_pattern_behind_another_is_not_called_useless() -> None:
    settings = Settings(images={"*": ImageSettings(), "r.io/*": ImageSettings(base_image="x")})
    assert unused_settings(make_flow(images={"start": "r.io/a:1"}), settings) == ()


def test_docker_hub_by_its_other_name() -> None:
    flow = make_flow(images={"start": "acme/t:1"})
    (plan,) = plan_images(flow, Settings(registry="index.docker.io/acme"))
    assert plan.environment


@pytest.mark.parametrize("registry", ["https://r.io/acme", "r.io/Acme", "r.io/a b", ""])
def test_a_registry_that_begins_no_reference_is_refused(registry: str) -> None:
    with pytest.raises(SettingsError, match="registry"):
        plan_images(make_flow(images={"start": "x.io/t:1"}), Settings(registry=registry))


def packaged(name: str, image: str = CPU, **packages: str) -> Step:
    return make_step(name, image, pypi={"packages": packages, "python": None, "disabled": False})


def test_packages_of_the_flow_stand_behind_the_libraries_of_the_settings() -> None:
    flow = make_flow(packaged("start", torch="2.4"), packaged("train", GPU), make_step("end"))
    cpu, gpu = plan_images(flow, Settings(requirements=("pandas",)))
    assert cpu.environment
    assert gpu.environment
    assert cpu.environment.requirements == (*NEEDED, "pandas", "torch==2.4")
    assert gpu.environment.requirements == (*NEEDED, "pandas")
    assert flow_notes(flow, (cpu, gpu), Settings()) == ()


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(Settings(registry="other.io"), id="used as it is"),
        pytest.param(
            Settings(images={CPU: ImageSettings(dockerfile=Path("Dockerfile.own"))}), id="own file"
        ),
    ],
)
def test_packages_of_an_image_that_is_not_ours_are_noted(settings: Settings) -> None:
    flow = make_flow(packaged("start", torch="2.4"), make_step("end"))
    images = plan_images(flow, settings)
    assert not images[0].environment or not images[0].environment.requirements
    [note] = flow_notes(flow, images, settings)
    assert note.startswith(f"{CPU} is not made by aicore-build: ")
    assert "at start have to be in it" in note


def test_steps_that_disagree_on_a_package_need_two_images() -> None:
    flow = make_flow(packaged("start", torch="2.4"), packaged("end", torch="2.5"))
    with pytest.raises(FlowError, match=f"share the image {CPU}"):
        plan_images(flow, Settings())


def test_what_cannot_run_there_is_refused_before_anything_is_planned() -> None:
    with pytest.raises(FlowError, match="AWS Batch"):
        plan_images(make_flow(make_step("start", None, batch={})), Settings())
