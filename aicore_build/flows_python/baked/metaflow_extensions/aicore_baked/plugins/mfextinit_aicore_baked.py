"""Gives Metaflow the environment of steps whose @pypi and @conda packages are in the image.

This folder is put on PYTHONPATH, in the flow's own Python, when a flow uses @pypi or @conda.
Metaflow then packs it with the code, since the steps' commands name the environment.
"""

ENVIRONMENTS_DESC = [("fast-bakery", ".baked_environment.BakedEnvironment")]
