"""Runs a workflow template on this machine as AI Core would, and says what would fail there."""
