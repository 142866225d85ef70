"""`python flow.py … aicore-inspect --out FILE`: what Metaflow knows of a flow, as JSON.

A sub-command is the only place that sees the decorators as the generator does: with images
resolved and `--with` applied. It runs in the flow's own Python: Python 3.9 and Metaflow only.
"""

import json
import platform
from importlib import metadata
from typing import Any, Dict, List, Optional

from metaflow import metaflow_config
from metaflow._vendor import click
from metaflow.plugins.aws.aws_utils import get_docker_registry


@click.group()
def cli() -> None:
    """Commands for aicore-build."""


@cli.command("aicore-inspect", help="Write what aicore-build needs to know of this flow.")
@click.option("--out", required=True, help="A file, since flows print to stdout.")
@click.pass_obj
def aicore_inspect(obj: Any, out: str) -> None:
    """Write the flow's steps, in graph order, and where Metaflow keeps its data."""
    obj.check(obj.graph, obj.flow, obj.environment, pylint=False)
    document = {
        "flow": obj.flow.name,
        "python_version": platform.python_version(),
        "metaflow_version": metadata.version("metaflow"),
        "plugin_version": _version("sap-ai-core-metaflow"),
        "datastore_root": metaflow_config.DATASTORE_SYSROOT_S3,
        "s3_endpoint": metaflow_config.S3_ENDPOINT_URL,
        "package_suffixes": _package_suffixes(obj),
        "decorators": [
            _decorator(d) for found in obj.flow._flow_decorators.values() for d in found
        ],
        "parameters": [_parameter(p) for _, p in obj.flow._get_parameters()],
        "steps": [_step(obj.graph[name]) for name in _graph_order(obj.graph)],
    }
    with open(out, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(document, file)


def _version(distribution: str) -> Optional[str]:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _package_suffixes(obj: Any) -> List[str]:
    """What the names of files end with that get into the code package."""
    return sorted({*obj.package_suffixes, *metaflow_config.DEFAULT_PACKAGE_SUFFIXES.split(",")})


def _parameter(parameter: Any) -> Dict[str, Any]:
    return {
        "name": parameter.name,
        "kind": type(parameter).__name__,
        "required": bool(parameter.kwargs.get("required")),
        "has_default": parameter.kwargs.get("default") is not None,
    }


def _decorator(decorator: Any) -> Dict[str, Any]:
    return {
        "name": decorator.name,
        "attributes": _plain(decorator.attributes),
        "in_code": bool(decorator.statically_defined),
        "module": type(decorator).__module__,
    }


def _step(node: Any) -> Dict[str, Any]:
    images = [d.attributes["image"] for d in node.decorators if d.name == "kubernetes"]
    image = images[0] if images else _default_image()
    return {
        "name": node.name,
        "kind": node.type,
        "parallel": bool(node.parallel_step or node.parallel_foreach),
        "next": list(node.out_funcs),
        "image": image if image and not _is_metaflows_own(image) else None,
        "decorators": [_decorator(d) for d in node.decorators],
    }


def _default_image() -> Optional[str]:
    """The image of a step without @kubernetes: the generator gives it one, which resolves it so."""
    image = metaflow_config.KUBERNETES_CONTAINER_IMAGE
    registry = metaflow_config.KUBERNETES_CONTAINER_REGISTRY
    if image and registry and not get_docker_registry(image):
        return "{}/{}".format(registry.rstrip("/"), image)
    return image or None


def _is_metaflows_own(image: Optional[str]) -> bool:
    """Whether Metaflow made the image up: `python:3.11`, since neither step nor user named one."""
    if metaflow_config.KUBERNETES_CONTAINER_IMAGE or not image:
        return not image
    own = "python:{}.{}".format(*platform.python_version_tuple())
    return image == own or image == "{}/{}".format(
        (metaflow_config.KUBERNETES_CONTAINER_REGISTRY or "").rstrip("/"), own
    )


def _graph_order(graph: Any) -> List[str]:
    """Every step after all of those before it; Metaflow's own order repeats joins."""
    order: List[str] = []
    waiting = sorted(graph.nodes.values(), key=lambda node: node.func_lineno)
    while waiting:
        ready = (node for node in waiting if set(node.in_funcs) <= set(order))
        node = next(ready, waiting[0])
        waiting.remove(node)
        order.append(node.name)
    return order


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return repr(value)
