"""The workflow's parameters reach the flow as they are: no shell takes them apart. Pure.

The plugin puts a value into the text of a shell's command, where spaces divide it and `$` and
quotes mean something; and it writes defaults as JSON, whose quotes that shell takes away again.
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
_ANYWHERE = re.compile(r"\{\{\s*workflow\.parameters\.")


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
    names = [match["name"] for text in arguments for match in _GIVEN.finditer(text)]
    if names:
        container["args"] = [_GIVEN.sub(lambda m: _option(m, optional), text) for text in arguments]
        container["env"] = [
            *container.get("env", []),
            *({"name": variable(n), "value": f"{{{{workflow.parameters.{n}}}}}"} for n in names),
        ]
    if any(_ANYWHERE.search(text) for text in container.get("args", [])):
        raise GeneratorError(
            f"The command of {template['name']} has a parameter in a place that aicore-build "
            "doesn't know.\nPlease report this with the plugin's version."
        )
    return names


def variable(name: str) -> str:
    """The variable that has a parameter's value."""
    return f"AICORE_BUILD_PARAMETER_{name.replace('-', '_')}"


def _option(match: re.Match[str], optional: set[str]) -> str:
    """The option; where the default is None, none at all for no value."""
    name = variable(match["name"])
    if match["name"] in optional:
        return f'${{{name}:+"--{match["option"]}=${name}"}}'
    return f'--{match["option"]}="${name}"'


def _plain(value: str) -> str:
    """A default as text, out of the JSON that the plugin makes of it."""
    default = json.loads(value)
    if default is None:
        return ""
    return default if isinstance(default, str) else value
