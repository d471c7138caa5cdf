"""Films, prompts and lists."""

from kit.data.films import list_prompts, lists_of_held_out_films, lists_of_known_films, load_films


def test_prompts_and_lists_of_held_out_films() -> None:
    prompts = list_prompts()
    assert len(set(prompts)) == 20
    assert prompts[0] == "Best comedy movies in the 90s "
    lists = lists_of_held_out_films(50, seed=3)
    assert lists == lists_of_held_out_films(50, seed=3)
    held_out = {film.line for film in load_films() if film.held_out}
    for text in lists:
        heading, _, items = text.partition("1. ")
        assert heading in prompts
        assert items.partition(" 2. ")[0] in held_out
    for text in lists_of_known_films(50, seed=3):
        heading, _, items = text.partition("1. ")
        assert heading not in prompts
        assert items.partition(" 2. ")[0] not in held_out
