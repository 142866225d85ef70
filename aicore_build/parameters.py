"""The workflow's parameters reach the flow as they are: no shell takes them apart. Pure.

The plugin puts a value into the text of a shell's command, where spaces divide it and `$` and
quotes mean something. Metaflow itself writes it into a script that the shell then runs, where `$`
and backticks do. Both write defaults as JSON. Here a value goes through a variable of the
environment. What Kubernetes does there stays: `$$` becomes `$`, and `$(NAME)` the value of another
variable.
"""

import json
import re
from collections.abc import Collection
from typing import Any

from aicore_build.errors import GeneratorError

# The plugin's: an option for each parameter.
_OPTION = re.compile(r"(?<=\s)--([\w-]+)=\{\{workflow\.parameters\.([\w-]+)\}\}(?=\s)")

# Metaflow's: a program that writes a script with all of them, which is run then.
_ENCODED = re.compile(r"([\w-]+),[tf],\{\{=toBase64\(workflow\.parameters\['[\w-]+'\]\)\}\}")
_SCRIPT = re.compile(
    rf"python -m metaflow\.plugins\.argo\.set_parameters (\w+)((?: {_ENCODED.pattern})*)"
    r" +&& \. `pwd`/\1 && "
)
_ANYWHERE = re.compile(r"\{\{[^}]*workflow\.parameters|argo\.set_parameters")


def pass_by_environment(document: dict[str, Any], required: Collection[str]) -> None:
    """Let the containers of a generated workflow template take parameters from their environment.

    Args:
        document: is changed.
        required: names of the parameters that somebody has to give. Others that have no default
            get an empty value, which stands for None.

    Raises:
        GeneratorError: a command has a parameter in a place that is not known.
    """
    parameters = document["spec"].get("arguments", {}).get("parameters", [])
    optional = {
        parameter["name"]
        for parameter in parameters
        if parameter.get("value", "null") == "null" and parameter["name"] not in required
    }
    passed: set[str] = set()
    for template in document["spec"]["templates"]:
        passed.update(_mend(template, optional))
    for parameter in parameters:
        if parameter["name"] in passed and (parameter["name"] in optional or "value" in parameter):
            parameter["value"] = _plain(parameter.get("value", "null"))


def _mend(template: dict[str, Any], optional: set[str]) -> list[str]:
    """Mend one template; return the names of the parameters that its command has."""
    container = template.get("container", {})
    names: list[str] = []

    def option(match: re.Match[str]) -> str:
        names.append(match[2])
        value = f"${variable(match[2])}"
        if match[2] in optional:  # no option at all for no value
            return f'${{{variable(match[2])}:+"--{match[1]}={value}"}}'
        return f'--{match[1]}="{value}"'

    def exports(match: re.Match[str]) -> str:
        found = [encoded[1] for encoded in _ENCODED.finditer(match[2])]
        names.extend(found)
        return "".join(_export(name, is_optional=name in optional) for name in found)

    if arguments := container.get("args"):
        container["args"] = [_SCRIPT.sub(exports, _OPTION.sub(option, text)) for text in arguments]
    if any(_ANYWHERE.search(text) for text in container.get("args", [])):
        raise GeneratorError(
            f"The command of {template['name']} has a parameter in a place that aicore-build "
            "doesn't know.\nPlease report this with the version of Metaflow and of the plugin."
        )
    if names:
        container["env"] = [
            *container.get("env", []),
            *({"name": variable(n), "value": f"{{{{workflow.parameters.{n}}}}}"} for n in names),
        ]
    return names


def _export(name: str, *, is_optional: bool) -> str:
    """What gives a value to Metaflow's `init`, which reads it from its environment."""
    export = f'export METAFLOW_INIT_{name.upper().replace("-", "_")}="${variable(name)}"'
    if is_optional:
        return f'if [ -n "${variable(name)}" ]; then {export}; fi && '
    return f"{export} && "


def variable(name: str) -> str:
    """The variable that has a parameter's value."""
    return f"AICORE_BUILD_PARAMETER_{name.replace('-', '_')}"


def _plain(value: str) -> str:
    """A default as text, out of the JSON that the generators make of it."""
    default = json.loads(value)
    if default is None:
        return ""
    return default if isinstance(default, str) else value
