"""Measure the tool in the sandbox: `python -m tests.bench`, each row side by side in one run."""
