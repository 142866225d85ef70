"""From a Metaflow flow to images and a workflow template that SAP AI Core runs."""

__version__ = "0.1.0"
