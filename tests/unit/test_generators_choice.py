from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aicore_build.errors import StoreError
from aicore_build.generators import choice
from aicore_build.settings import GeneratorName, Settings
from tests.unit.make import sweep_flow


@pytest.mark.parametrize(
    ("settings", "name", "given"),
    [
        pytest.param(Settings(generator_timeout=9), "sap", {}, id="sap"),
        pytest.param(
            Settings(generator_timeout=9, generator=GeneratorName.METAFLOW, keep_resources=True),
            "metaflow",
            {"keep_resources": True},
            id="metaflow",
        ),
    ],
)
def test_the_generator_is_called_with_what_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, name: str, given: dict[str, Any]
) -> None:
    calls: dict[str, tuple[object, dict[str, object]]] = {}
    for module in ("sap", "metaflow"):
        monkeypatch.setattr(
            getattr(choice, module),
            "generate",
            lambda flow, module=module, **more: calls.setdefault(module, (flow, more)),
        )
    flow = sweep_flow()
    choice.generate(flow, settings, embedded=True, packages=Path("/made"))
    more = {"embedded": True, "timeout": 9, "packages": Path("/made"), **given}
    assert calls == {name: (flow, more)}


@pytest.mark.parametrize("generator", GeneratorName)
def test_without_s3_no_generator_is_called(generator: GeneratorName) -> None:
    flow = replace(sweep_flow(), datastore_root=None)
    with pytest.raises(StoreError, match="METAFLOW_DATASTORE_SYSROOT_S3=s3://"):
        choice.generate(flow, Settings(generator=generator), embedded=False)
