import json
from dataclasses import replace

import pytest

from aicore_build.errors import GeneratorError, StoreError
from aicore_build.generators.sap import generate, parse_generated
from tests.unit.make import DATA, recorded, sweep_flow

STDOUT = (DATA / "generated.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "stdout",
    [
        pytest.param(STDOUT, id="alone"),
        pytest.param(f"Creating local datastore\n{STDOUT}", id="a line before"),
        pytest.param(f"{STDOUT}\nbye {{}}\n", id="a line behind"),
        pytest.param(f'{{"loss": 1}} {{\n{STDOUT}}}', id="braces around"),
        pytest.param(f'{{"apiVersion": "v1", "kind": "Pod"}}\n{STDOUT}', id="another object"),
        pytest.param(f'{{"apiVersion": \n{STDOUT}', id="a broken object"),
        pytest.param(json.dumps(recorded("generated")), id="in one line"),
    ],
)
def test_the_workflow_template_is_taken_out_of_the_output(stdout: str) -> None:
    assert parse_generated(stdout) == recorded("generated")


@pytest.mark.parametrize(
    "stdout",
    [
        pytest.param("", id="nothing"),
        pytest.param("line\n" * 30 + "the last line\n", id="no JSON"),
        pytest.param(STDOUT[:-100], id="cut off"),
        pytest.param('{"apiVersion": "v1", "kind": "Pod"}', id="another kind"),
    ],
)
def test_output_without_a_workflow_template(stdout: str) -> None:
    with pytest.raises(GeneratorError, match="wrote no workflow template") as refused:
        parse_generated(stdout)
    lines = str(refused.value).splitlines()[1:]
    assert lines == [f"  {line}" for line in stdout.splitlines()[-20:]]


def test_without_s3_nothing_is_generated() -> None:
    flow = replace(sweep_flow(), datastore_root=None)
    with pytest.raises(StoreError, match="METAFLOW_DATASTORE_SYSROOT_S3=s3://"):
        generate(flow, embedded=False, timeout=1)
