"""Cuts Shakespeare's plays into their scenes, and tells which kind of play each is.

Source: "Mr. William Shakespeares Comedies, Histories, & Tragedies", the First Folio, 1623, whose catalogue says which
play is which; the texts are those of `jattn.training.data.shakespeare`.
Departs: Troilus and Cressida, which the catalogue forgot, is printed among the tragedies; Pericles and the poems are
not in the Folio, so they are not here.
"""

import functools
import re

from jattn.training.data import shakespeare

KINDS = {
    "comedy": (
        "alls_well_that_ends_well", "as_you_like_it", "comedy_of_errors", "loves_labours_lost", "measure_for_measure",
        "merchant_of_venice", "merry_wives_of_windsor", "midsummer_nights_dream", "much_ado_about_nothing",
        "taming_of_the_shrew", "tempest", "twelfth_night", "two_gentlemen_of_verona", "winters_tale",
    ),
    "history": (
        "henry_iv_part_1", "henry_iv_part_2", "henry_v", "henry_vi_part_1", "henry_vi_part_2", "henry_vi_part_3",
        "henry_viii", "john", "richard_ii", "richard_iii",
    ),
    "tragedy": (
        "antony_and_cleopatra", "coriolanus", "cymbeline", "hamlet", "julius_caesar", "lear", "macbeth", "othello",
        "romeo_and_juliet", "timon_of_athens", "tragedy_of_titus_andronicus", "troilus_and_cressida",
    ),
}  # fmt: skip
PLAYS = tuple(sorted(name for names in KINDS.values() for name in names))
# a line that begins an act or a scene; "SCENE: Athens, and a wood" begins none
HEADING = re.compile(
    rb"^[ \t]*(?:ACT|SCENE|Scene)[ .]+(?:[IVX]+|[0-9]+|FIRST|SECOND|THIRD|FOURTH|FIFTH)\b.*$", re.MULTILINE
)
# an act's heading and that of its first scene have less between them; the shortest scene has 206 bytes
SHORTEST = 100


@functools.cache
def scenes() -> dict[str, tuple[bytes, ...]]:
    """Each play's scenes in order, without their headings or what stands before the first one."""
    works = shakespeare.works()
    return {play: _scenes(works[play]) for play in PLAYS}


def _scenes(text: bytes) -> tuple[bytes, ...]:
    found = list(HEADING.finditer(text))
    ends = [*(each.start() for each in found[1:]), len(text)]
    cut = (text[each.end() : end].strip() for each, end in zip(found, ends, strict=True))
    return tuple(each for each in cut if len(each) >= SHORTEST)
