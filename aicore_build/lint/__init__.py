"""Workflow template → findings: what SAP AI Core, Argo or Kubernetes would reject or mis-run."""

from aicore_build.lint.rules import lint
from aicore_build.lint.structure import check_structure

__all__ = ["check_structure", "lint"]
