"""The configuration: schema, composition, overrides. The only package that knows Hydra; conf/ is found without it."""

from pathlib import Path

from glue_bench.errors import UsageError

_PACKAGE = Path(__file__).resolve().parents[1]


def conf_folder() -> Path:
    """Return the absolute path of conf/: the copy inside an installed wheel, else the checkout's own."""
    packaged = _PACKAGE / "conf"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "conf"


def group_options(group: str, config_dir: Path | None = None) -> list[str]:
    """Return what `group=NAME` accepts, the user's own included; a UsageError for a missing folder or a taken name."""
    shipped = {path.stem for path in (conf_folder() / group).glob("*.yaml")}
    if config_dir is None:
        return sorted(shipped)
    if not config_dir.is_dir():
        raise UsageError(f"--config-dir {config_dir}: no such folder")
    own = {path.stem for path in (config_dir / group).glob("*.yaml")}
    if taken := sorted(shipped & own):
        file = config_dir / group / f"{taken[0]}.yaml"
        raise UsageError(f"{file}: {group}={taken[0]} ships with glue-bench; choose another name")
    return sorted(shipped | own)
