import pytest

from aicore_build.errors import FlowError
from aicore_build.flow import Parameter
from aicore_build.prod import refuse_included_files
from tests.unit.make import CPU, make_flow


def test_offline_refuses_a_flow_whose_files_are_uploaded() -> None:
    kinds = {"table": "IncludeFile", "rounds": "Parameter", "limits": "IncludeFile"}
    parameters = tuple(Parameter(name=name, kind=kind) for name, kind in kinds.items())
    flow = make_flow(images={"start": CPU}, parameters=parameters)
    with pytest.raises(FlowError, match=r"IncludeFile \(table, limits\)") as refused:
        refuse_included_files(flow)
    assert "--package-suffixes" in str(refused.value)


def test_offline_takes_other_parameters() -> None:
    parameters = (Parameter(name="rounds", kind="Parameter"), Parameter(name="c", kind="Config"))
    refuse_included_files(make_flow(images={"start": CPU}, parameters=parameters))
