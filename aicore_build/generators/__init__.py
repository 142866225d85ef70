"""Flow → workflow template."""
