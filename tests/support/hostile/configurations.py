"""What configures a run: YAML files of --config-dir, and the command line."""

from tests.support.hostile.trial import SETTING, Trial, spoil_file

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
_VALUES = ["5", "null", "[a, [b]]", "{a: 1}", '"\\e[31m"', "${oc.env:SECRET}", ".nan", "-.inf", "'" + "x" * 3000]
_VALUES += ["1" * 5000, "!!python/object:os.system {}", "!!binary x", "*nowhere", "&a [*a]", "'../x'", "[]"]
_LINES = "cell: {a: 1}|recipe_changes: {}|hydra: {}|defaults: [/x/y]|_target_: os.system|? [a]\n: b"
_VERBS = "run run sweep report predict card submit compare doctor"
_KEYS = """
    trainer.epochs trainer.updates trainer.device trainer.betas trainer.max_length seed seeds tasks encoder.revision
    data.revision data.dataset encoder.hub_id executor.workers results_dir data.path encoder.name encoder.path
    encoder.package grid.epochs init recipe preset task holdout x.y
"""
_WORDS = """
    \u00b2 --5 \u0663 [[0.9],1] 1e999 nan null .. ../x /x ~nosuchuser ${oc.env:HOME} a${b}c {a:1} -1 0 true a:1
    1_0 0x10 cuda:99999999999 loop/x refs/../../x \u00e9 /dev/null canary/notes.txt [1,[2]] glob(*) choice(1,2) '
"""
_LONG_WORDS = ["9" * 400, "", "a\x1bb", "[" * 3000, "x" * 5000, "a b", "\udc80"]


def configurations(trial: Trial) -> None:
    """Spoil a YAML file of --config-dir."""
    rng = trial.rng
    path = trial.find("my_conf/*/*.yaml")
    lines = path.read_text().splitlines()
    way = rng.choice(["value", "value", "value", "line", "key", "bomb", "nested", "file"])
    if way == "file":
        spoil_file(path, trial)
    else:
        place = rng.randrange(len(lines))
        key = lines[place].partition(":")[0]
        texts = {
            "value": f"{key}: {rng.choice(_VALUES)}",
            "line": rng.choice(_VALUES),
            "key": rng.choice(_LINES.split("|")),
        }
        made = {**texts, "bomb": BOMB, "nested": "a: " + "[" * 100_000}[way]
        lines[place] = made
        path.write_text("\n".join(lines) + "\n")
        trial.about = f" {path.name} {way}: {made:.80}"
    group, name = path.parent.name, path.stem
    chosen = [f"{group}={name}"] if group != "task" else ["task=mine"]
    base = [word for word in SETTING if not word.startswith(f"{group}") or group == "recipe"]
    words = ["run", *(["task=rte"] if group != "task" else []), *base, *chosen, "--config-dir", "my_conf"]
    trial.words = rng.choice([words, words, ["tasks", "--config-dir", "my_conf"]])


def arguments(trial: Trial) -> None:
    """Give keys odd values, and verbs odd options."""
    rng = trial.rng
    (trial.world / "loop").symlink_to("loop")
    words = [
        f"{key}={rng.choice([*_WORDS.split(), *_LONG_WORDS])}"
        for key in rng.sample(_KEYS.split(), rng.choice([1, 1, 2]))
    ]
    folder = rng.choice(["", "nowhere", "canary/notes.txt", "/"])
    options = rng.choice([[], [], [], ["--config-dir", folder], ["--debugg"], ["-m"]])
    verb = rng.choice(_VERBS.split())
    bases = {"run": ["task=rte", *SETTING], "sweep": ["--dry-run", "executor=serial", *SETTING], "submit": ["build"]}
    base = bases.get(verb, [])
    trial.words, trial.about = [verb, *base, *words, *options], f" {words} {options}"
    # The folder that the command line names is the results' folder.
    trial.allowed = [value for word in words if (value := word.partition("=")[2]) and word.startswith("results_dir")]
    if verb == "run" and not any("epochs" in word or "updates" in word for word in words):
        trial.words.append("trainer.epochs=1")
