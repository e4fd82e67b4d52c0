"""Plays come apart into scenes, and each is of one kind."""

from jattn.training.data import scenes, shakespeare


def test_the_folio_s_36_plays_are_of_one_kind_each():
    assert [len(plays) for plays in scenes.KINDS.values()] == [14, 10, 12]
    # what the Folio lacks: one play, and the poems
    rest = {
        "lovers_complaint",
        "passionate_pilgrim",
        "pericles",
        "phoenix_and_the_turtle",
        "rape_of_lucrece",
        "sonnets",
    }
    assert {*scenes.PLAYS} == {*shakespeare.works()} - rest and len(scenes.PLAYS) == 36


def test_scenes_are_nearly_all_of_a_play_without_their_headings():
    works = shakespeare.works()
    assert tuple(scenes.scenes()) == scenes.PLAYS
    for play, found in scenes.scenes().items():
        assert 9 <= len(found) <= 42
        # what is lost are the title, the persons and the headings
        assert 0.97 < sum(len(each) for each in found) / len(works[play]) < 1
        place = 0
        for each in found:
            place = works[play].index(each, place) + len(each)
            assert not scenes.HEADING.search(each)
    macbeth = scenes.scenes()["macbeth"]
    assert macbeth[0].startswith(b"[Enter three Witches.]") and macbeth[0].endswith(b"[Witches vanish.]")
