"""Runs a flow with stand-ins for libraries that are not installed: `with_stubs.py flow.py …`.

Only what files below the flow's folder import gets one, and only where a missing module is not
provided for by `try: … except ImportError:`. It runs in the flow's own Python, which may be 3.9.
In the environment:
    AICORE_BUILD_STUBS: a file that takes the names of the modules, a line each; a line that begins
        with `?` is a stand-in that was asked whether it is true.
    AICORE_BUILD_STUBS_ARE: `true` or `false`, what such a stand-in answers.
"""

import abc
import ast
import os
import runpy
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Iterator, List, Optional

MARK = "not-installed:"
"""In every text that is made of a stand-in, with the name behind it."""

REPORT = os.environ.get("AICORE_BUILD_STUBS") or os.devnull
ANSWER = os.environ.get("AICORE_BUILD_STUBS_ARE") == "true"


def report(line: str) -> None:
    """Tell aicore-build."""
    with open(REPORT, "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(line + "\n")


class StubType(abc.ABCMeta):
    """A class stands in for everything: it can be called, inherited from, and asked for more."""

    stub_name = ""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        return make_stub("{}.{}".format(cls.stub_name, name))

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Leave what it decorates as it is; else stand in for the result."""
        if not is_stub(cls):  # a class of the flow that inherits from one
            return super().__call__(*args, **kwargs)
        decorates = len(args) == 1 and not kwargs and not isinstance(args[0], StubType)
        decorates = decorates and (isinstance(args[0], type) or hasattr(args[0], "__code__"))
        return args[0] if decorates else make_stub(cls.stub_name + "()")

    def __bool__(cls) -> bool:
        if not is_stub(cls):
            return True
        report("?" + cls.stub_name)
        return ANSWER

    def __iter__(cls) -> Iterator[Any]:
        raise TypeError("{}{} can't be iterated over".format(MARK, cls.stub_name))

    def __str__(cls) -> str:
        return MARK + cls.stub_name if is_stub(cls) else type.__repr__(cls)

    def __repr__(cls) -> str:
        return str(cls)

    def __format__(cls, _spec: str) -> str:
        return str(cls)

    def __hash__(cls) -> int:
        return type.__hash__(cls)

    def __eq__(cls, other: object) -> Any:
        return cls is other or not is_stub(cls) or make_stub(cls.stub_name + "==")

    def __enter__(cls) -> Any:
        return cls

    def __exit__(cls, *_: object) -> None:
        pass

    def _more(cls, *_: object) -> Any:
        return make_stub(cls.stub_name + "…")

    def __or__(cls, other: Any) -> Any:
        return Any

    __ror__ = __or__
    __getitem__ = __lt__ = __le__ = __gt__ = __ge__ = _more
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = (
        _more
    )
    __pow__ = __neg__ = __mod__ = __and__ = __invert__ = _more


def is_stub(cls: type) -> bool:
    """Whether it is a stand-in itself, not a class that inherits from one."""
    return "stub_name" in vars(cls)


def make_stub(name: str) -> Any:
    """Make a stand-in for what has this name."""
    body = {"stub_name": name, "__module__": name, "__init_subclass__": _accept_all}
    return StubType(name.rpartition(".")[2], (), body)


def _accept_all(*_: Any, **__: Any) -> None:
    """Let a class of the flow inherit with any arguments."""


class StubModule(ModuleType):
    """A module that has whatever it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        value = make_stub("{}.{}".format(self.__name__, name))
        setattr(self, name, value)
        return value


class StubFinder:
    """Found last of all: knows the modules that no other finder knows."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Optional[ModuleSpec]:
        """Find a stand-in for a module, if it is for the flow."""
        parent = sys.modules.get(name.rpartition(".")[0])
        if not isinstance(parent, StubModule):
            if parent is not None or not self._is_for_the_flow():
                return None
            report(name)
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make it."""
        return StubModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""

    def _is_for_the_flow(self) -> bool:
        frame: Optional[FrameType] = sys._getframe(2)
        while frame and "importlib" in frame.f_code.co_filename:
            if frame.f_globals.get("__name__") == "importlib.util":
                return False  # its find_spec only asks whether it is there
            frame = frame.f_back
        if frame is None:
            return False
        path = frame.f_code.co_filename
        inside = path.startswith(self.folder + os.sep) and "site-packages" not in path
        return inside and not is_provided_for(path, frame.f_lineno)


def is_provided_for(path: str, line: int) -> bool:
    """Whether the import in this line is inside a `try` that catches its failure."""
    with open(path, "rb") as file:  # noqa: PTH123
        tree = ast.parse(file.read())
    return any(
        node.body[0].lineno <= line <= (node.body[-1].end_lineno or 0)
        and any(catches(caught) for caught in caught_by(node))
        for node in ast.walk(tree)
        if isinstance(node, (ast.Try, ast.With))
    )


def caught_by(node: Any) -> List[Optional[ast.AST]]:
    """The exceptions that a `try` or a `with suppress(…)` catches; None for all."""
    if isinstance(node, ast.Try):
        return [handler.type for handler in node.handlers]
    calls = [item.context_expr for item in node.items]
    return [call for call in calls if "suppress" in ast.dump(call)]


def catches(caught: Optional[ast.AST]) -> bool:
    """Whether imports that fail are among it."""
    known = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
    nodes = ast.walk(caught) if caught else ()
    return caught is None or any(isinstance(n, ast.Name) and n.id in known for n in nodes)


if __name__ == "__main__":
    del sys.argv[0]
    script = Path.cwd() / sys.argv[0]
    sys.path[0] = str(script.parent)
    sys.meta_path.append(StubFinder(str(script.parent)))
    runpy.run_path(str(script), run_name="__main__")
