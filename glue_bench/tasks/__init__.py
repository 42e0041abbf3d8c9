"""The metrics of tasks, and the published numbers."""
