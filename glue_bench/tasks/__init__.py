"""The task adapter, its metrics, and the published numbers."""
