"""Tells Metaflow of the sub-command `aicore-inspect`.

This folder is put on PYTHONPATH for one call, in the flow's own Python, which may be older than
ours and knows nothing of the package `aicore_build`: Python 3.9 and Metaflow only.
"""

CLIS_DESC = [("aicore-inspect", ".aicore_inspect.cli")]
