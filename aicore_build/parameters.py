"""The workflow's parameters reach the flow as they are: no shell takes them apart. Pure.

The plugin puts a value into the text of a shell's command, where spaces divide it and `$` and
quotes mean something; and it writes defaults as JSON, whose quotes that shell takes away again.
Metaflow itself reads a value as JSON, if it is that, and writes it as JSON into a file for a shell,
to which `$` and backticks mean something, and `\\u00fc` nothing.
Here a value goes through a variable of the environment. What Kubernetes does there stays: `$$`
becomes `$`, and `$(NAME)` the value of another variable.
"""

import json
import re
from typing import Any

from aicore_build.errors import GeneratorError

_GIVEN = re.compile(
    r"(?<=\s)--(?P<option>[\w-]+)=\{\{workflow\.parameters\.(?P<name>[\w-]+)\}\}(?=\s)"
)
_IN_A_FILE = re.compile(
    r"python -m metaflow\.plugins\.argo\.set_parameters (?P<file>\w+)"
    r"(?P<parameters>(?: [\w-]+,[tf],\{\{=toBase64\(workflow\.parameters\['[\w-]+'\]\)\}\})+)"
    r" && \. `pwd`/(?P=file) && "
)
_IN_THE_FILE = re.compile(r" (?P<option>[\w-]+),[tf],\{\{=toBase64\([^']*'(?P<name>[\w-]+)'")
_ANYWHERE = re.compile(r"\{\{[^}]*workflow\.parameters")


def pass_by_environment(document: dict[str, Any]) -> None:
    """Let the containers of a generated workflow template take parameters from their environment.

    Args:
        document: is changed.

    Raises:
        GeneratorError: a command has a parameter in a place that is not known.
    """
    parameters = document["spec"].get("arguments", {}).get("parameters", [])
    optional = {parameter["name"] for parameter in parameters if parameter.get("value") == "null"}
    passed: set[str] = set()
    for template in document["spec"]["templates"]:
        passed.update(_mend(template, optional))
    for parameter in parameters:
        if parameter["name"] in passed and "value" in parameter:
            parameter["value"] = _plain(parameter["value"])


def _mend(template: dict[str, Any], optional: set[str]) -> list[str]:
    """Mend one template; return the names of the parameters that its command has."""
    container = template.get("container", {})
    arguments = container.get("args", [])
    names = [name for text in arguments for name in _names(text)]
    if names:
        container["args"] = [_take(text, optional) for text in arguments]
        container["env"] = [
            *container.get("env", []),
            *({"name": variable(n), "value": f"{{{{workflow.parameters.{n}}}}}"} for n in names),
        ]
    if any(_ANYWHERE.search(text) for text in container.get("args", [])):
        raise GeneratorError(
            f"The command of {template['name']} has a parameter in a place that aicore-build "
            "doesn't know.\nPlease report this with the generator's version."
        )
    return names


def _names(text: str) -> list[str]:
    inside = (m for whole in _IN_A_FILE.finditer(text) for m in _IN_THE_FILE.finditer(whole[0]))
    return [match["name"] for match in (*_GIVEN.finditer(text), *inside)]


def _take(text: str, optional: set[str]) -> str:
    """A command that takes its parameters from the environment."""

    def exports(whole: re.Match[str]) -> str:
        found = _IN_THE_FILE.finditer(whole["parameters"])
        return "".join(f"{_export(match, optional)} && " for match in found)

    return _IN_A_FILE.sub(exports, _GIVEN.sub(lambda match: _option(match, optional), text))


def variable(name: str) -> str:
    """The variable that has a parameter's value."""
    return f"AICORE_BUILD_PARAMETER_{name.replace('-', '_')}"


def _option(match: re.Match[str], optional: set[str]) -> str:
    """The option; where the default is None, none at all for no value."""
    name = variable(match["name"])
    if match["name"] in optional:
        return f'${{{name}:+"--{match["option"]}=${name}"}}'
    return f'--{match["option"]}="${name}"'


def _export(match: re.Match[str], optional: set[str]) -> str:
    """What hands a value to `init`; where the default is None, nothing for no value."""
    name = variable(match["name"])
    export = f'export METAFLOW_INIT_{match["option"].upper().replace("-", "_")}="${name}"'
    return f'if [ -n "${name}" ]; then {export}; fi' if match["name"] in optional else export


def _plain(value: str) -> str:
    """A default as text, out of the JSON that the generators make of it."""
    default = json.loads(value)
    if default is None:
        return ""
    return default if isinstance(default, str) else value
