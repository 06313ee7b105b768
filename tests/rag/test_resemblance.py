import random

from rag.resemblance import KnownTexts, containment, figures_of, near_duplicates, normalised, word_runs


def text(words: list[str]) -> str:
    return " ".join(words)


def words(seed: int, count: int = 400) -> list[str]:
    return random.Random(seed).choices([f"word{number}" for number in range(3000)], k=count)


def naive(one: list[str], other: list[str]) -> float:
    runs = [{tuple(some[start : start + 5]) for start in range(len(some) - 4)} for some in (one, other)]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_copies_and_near_copies_are_found_with_their_similarity() -> None:
    original = words(1)
    edited = [*original[:200], "changed", *original[201:]]
    half = [*original[:200], *words(2, 200)]
    texts = {"a": text(original), "b": text(edited), "c": text(half), "d": text(words(3)), "e": text(original).upper()}
    found = near_duplicates(list(texts), texts.__getitem__)
    assert [(pair.first, pair.second) for pair in found] == [("a", "e"), ("a", "b"), ("b", "e")]
    assert found[0].similarity == 1
    assert found[1].similarity == naive(original, edited)


def test_scripts_without_spaces_are_compared_by_sign() -> None:
    base = "每运行四千小时必须更换泵的齿轮油，并检查密封件是否磨损。更换前先关闭阀门并释放系统压力。" * 3
    texts = {
        "a": base,
        "b": base.replace("四千", "八千", 1),
        "c": "完全不同的文件，讲的是仓库的运输和包装要求以及出口文件。",
    }
    found = near_duplicates(list(texts), texts.__getitem__)
    assert [(pair.first, pair.second) for pair in found] == [("a", "b")]


def test_short_and_empty_texts_are_compared_whole() -> None:
    texts = {"a": "two words", "b": "Two  words", "c": "other words", "d": "", "e": "!?"}
    found = near_duplicates(list(texts), texts.__getitem__)
    assert [(pair.first, pair.second, pair.similarity) for pair in found] == [("a", "b", 1.0)]


def test_what_two_writings_of_a_question_share_is_its_words() -> None:
    assert normalised("  What is the ＺＰ-40’s mass?! ") == normalised("what is the zp 40 s MASS")
    assert normalised("发票，保存多少年？") == normalised("发票保存多少年")


def test_figures_tell_texts_apart() -> None:
    assert figures_of("The ZP-40/2 takes 2,5 bar at M12.") == {"zp-40/2", "2.5", "m12"}
    assert figures_of("2.5 bar") == figures_of("2,5 bar")
    assert figures_of("no number at all") == frozenset()


def test_containment_is_the_share_of_the_part() -> None:
    part, whole = word_runs("a b c d", 2), word_runs("x a b c y", 2)
    assert containment(part, whole) == 2 / 3
    assert containment(frozenset(), whole) == 0


def test_known_texts_name_those_that_are_similar() -> None:
    known = KnownTexts(0.5, words_per_run=2)
    known.add("a", "how heavy is the blue pump in the hall")
    known.add("b", "how heavy is the red pump in the hall")
    known.add("none", "?!")
    assert [key for key, _ in known.similar("How heavy is the blue pump in the hall?")] == ["a", "b"]
    assert known.similar("?!") == []
    assert known.similar("where are the keys of the office on the second floor") == []
