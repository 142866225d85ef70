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


@click.group()
def cli() -> None:
    """Commands for aicore-build."""


@cli.command("aicore-inspect", help="Write what aicore-build needs to know of this flow.")
@click.option("--out", required=True, help="A file, since flows print to stdout.")
@click.pass_obj
def aicore_inspect(obj: Any, out: str) -> None:
    """Write the flow's steps, in graph order, and where Metaflow keeps its data."""
    obj.check(obj.graph, obj.flow, obj.environment, pylint=False)
    steps = [_step(obj.graph[name]) for name in _graph_order(obj.graph)]
    document = {
        "flow": obj.flow.name,
        "python_version": platform.python_version(),
        "metaflow_version": metadata.version("metaflow"),
        "plugin_version": _version("sap-ai-core-metaflow"),
        "datastore_root": metaflow_config.DATASTORE_SYSROOT_S3,
        "s3_endpoint": metaflow_config.S3_ENDPOINT_URL,
        "steps": steps,
    }
    with open(out, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(document, file)


def _version(distribution: str) -> Optional[str]:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _step(node: Any) -> Dict[str, Any]:
    decorators = [{"name": d.name, "attributes": _plain(d.attributes)} for d in node.decorators]
    images = [d.attributes["image"] for d in node.decorators if d.name == "kubernetes"]
    return {
        "name": node.name,
        "image": images[0] if images and not _is_metaflows_own(images[0]) else None,
        "decorators": decorators,
    }


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
