"""The environment of steps whose @pypi and @conda packages are in the image.

Metaflow's own environments for these decorators solve and download packages, when a flow is only
looked at too. @pypi and @conda also accept an environment of one other name: that is this one's.
It runs in the flow's own Python and on the cluster: Python 3.9 and Metaflow only.
"""

from typing import Any

from metaflow.metaflow_environment import MetaflowEnvironment


class BakedEnvironment(MetaflowEnvironment):
    """Finds all packages in the image: makes nothing, downloads nothing."""

    TYPE = "fast-bakery"

    def set_local_root(self, root: Any) -> None:
        """@pypi and @conda say where environments would be kept."""

    def is_disabled(self, step: Any) -> bool:  # noqa: ARG002 - asked by @conda
        """No step has an environment of its own."""
        return True
