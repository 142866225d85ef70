"""What a step's command does before the step: the download of the code, and how it is cut. Pure."""

import copy
import re
from collections.abc import Iterator

from aicore_build.errors import GeneratorError
from aicore_build.workflow import Json, container_templates

_DOWNLOAD = re.compile(
    r"mflog 'Setting up task environment\.' && "
    r"if \[ -z \$METAFLOW_SKIP_INSTALL_DEPENDENCIES \]; then \S+ -m pip install [^;&|]+; fi && "
    r"mkdir metaflow && cd metaflow && mkdir \.metaflow && "
    r"i=0; while \[ \$i -le 5 \]; do mflog 'Downloading code package\.\.\.'; "
    r"\S+ -c '[^']*\.download_file\([^']*' && mflog 'Code package downloaded\.' && break; "
    r"sleep 10; i=\$\(\(i\+1\)\); done && "
    r"if \[ \$i -gt 5 \]; then mflog 'Failed to download code package [^']*' && exit 1; fi && "
    r"TAR_OPTIONS='--warning=no-timestamp' tar (?:xf job\.tar|-xzf job\.tar -C \.) && "
)
"""From the first message to the unpacked code: pip, the folder, six tries to fetch it.

Told to the last command, since what is not known may be needed in a prod image, too.
"""

_TRACES = re.compile(r"job\.tar|download_file|pip install")


def cut_download(workflow_template: Json) -> Json:
    """The workflow template for images that have the code: their commands fetch none.

    What they do after that, such as exports of paths, stays.

    Raises:
        GeneratorError: a command is not the one that is known.
    """
    document = copy.deepcopy(workflow_template)
    for template in container_templates(document):
        container = template["container"]
        cuts = 0
        for key in ("command", "args"):
            cut = [_DOWNLOAD.subn("", text) for text in container.get(key) or []]
            container[key] = [text for text, _ in cut]
            cuts += sum(count for _, count in cut)
        if cuts != 1 or any(_TRACES.search(text) for text in _texts(container)):
            raise GeneratorError(
                f"The command of {template['name']} fetches the code in a way that aicore-build "
                "doesn't know.\nMetaflow is newer than what aicore-build knows: please report this "
                "with its version. A version that is known: 2.19.39."
            )
    return document


def _texts(container: Json) -> Iterator[str]:
    yield from container.get("command") or []
    yield from container.get("args") or []
