"""Rows of one task, from the hub, a local folder or the packaged sample."""
