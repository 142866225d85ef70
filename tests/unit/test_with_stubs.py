import types
from pathlib import Path

import pytest

from aicore_build.flows_python.with_stubs import MARK, is_provided_for, make_stub

TRY = "try:\n    import a\nexcept {}:\n    a = None\n"


@pytest.mark.parametrize(
    ("code", "line", "provided"),
    [
        pytest.param("import a\n", 1, False, id="plain"),
        pytest.param(TRY.format("ImportError"), 2, True, id="ImportError"),
        pytest.param(TRY.format("(ModuleNotFoundError, OSError)"), 2, True, id="one of several"),
        pytest.param(TRY.format("Exception as error"), 2, True, id="Exception"),
        pytest.param(TRY.replace(" {}", ""), 2, True, id="all"),
        pytest.param(TRY.format("ValueError"), 2, False, id="another"),
        pytest.param(TRY.format("ImportError") + "import b\n", 5, False, id="behind"),
        pytest.param(
            TRY.format("ImportError").replace("a = None", "import b"), 4, False, id="in the handler"
        ),
        pytest.param("with suppress(ImportError):\n    import a\n", 2, True, id="suppress"),
        pytest.param("with suppress(KeyError):\n    import a\n", 2, False, id="suppress another"),
        pytest.param("with lock(ImportError):\n    import a\n", 2, False, id="another with"),
    ],
)
def test_imports_that_are_provided_for(
    tmp_path: Path, code: str, line: int, *, provided: bool
) -> None:
    path = tmp_path / "flow.py"
    path.write_text(code)
    assert is_provided_for(str(path), line) is provided


def test_stand_in_is_whatever_is_asked_of_it() -> None:
    torch = make_stub("torch")
    assert str(torch.cuda.device("x")) == f"{MARK}torch.cuda.device()"
    assert f"a:{torch.__version__}" == f"a:{MARK}torch.__version__"
    assert MARK in str(2 * torch.pi + 1)
    with torch.no_grad():
        pass

    def double(number: int) -> int:
        return 2 * number

    assert torch.jit.script(double) is double
    net = types.new_class("Net", (torch.nn.Module,), {"extra": True})
    assert isinstance(net(), net)


def test_stand_in_has_no_parts_to_count_or_convert() -> None:
    for use in (list, len, int, iter):
        with pytest.raises(TypeError):
            use(make_stub("torch.devices"))
