"""glue-bench: fine-tune encoders on GLUE and say honestly whether the published table was reproduced."""

from importlib.metadata import version

__version__ = version("glue-bench")
__all__ = ["__version__"]
