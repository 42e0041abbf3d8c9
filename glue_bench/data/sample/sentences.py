"""Words to sentences: articles, plurals, verb endings, capitals. Knows no task, no randomness."""

from typing import Final

VOWELS: Final = ("a", "e", "i", "o", "u")
# Spelling and sound differ: a "university" but an "hour".
CONSONANT_SOUNDS: Final = ("uni", "use", "one", "eur")
IRREGULAR_PLURALS: Final = {
    "child": "children",
    "man": "men",
    "woman": "women",
    "wife": "wives",
    "seaman": "seamen",
    "thief": "thieves",
    "baby": "babies",
    "lady": "ladies",
    "sentry": "sentries",
    "fish": "fish",
    "sheep": "sheep",
    "deer": "deer",
    "wolf": "wolves",
    "knife": "knives",
}


def with_article(noun: str) -> str:
    """The noun phrase with "a" or "an" in front."""
    vowel = noun[0].lower() in VOWELS and not noun.lower().startswith(CONSONANT_SOUNDS)
    return f"{'an' if vowel else 'a'} {noun}"


def pluralize(noun: str) -> str:
    """The plural of a noun or of a phrase that ends in one."""
    head, _, last = noun.rpartition(" ")
    if last in IRREGULAR_PLURALS:
        plural = IRREGULAR_PLURALS[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        plural = last + "es"
    elif last.endswith("y") and last[-2] not in VOWELS:
        plural = last[:-1] + "ies"
    else:
        plural = last + "s"
    return f"{head} {plural}".lstrip()


def third_person(verb: str) -> str:
    """The third person singular of a present tense verb."""
    if verb.endswith(("s", "x", "ch", "sh", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ies"
    return verb + "s"


def finish(text: str, mark: str = ".") -> str:
    """The text as a sentence: a capital first, a mark last."""
    return text[0].upper() + text[1:] + mark
