"""Workflow template → findings: what SAP AI Core, Argo or Kubernetes would reject or mis-run."""
