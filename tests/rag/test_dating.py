import pytest

from rag.dating import stated_date


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("# Policy\n\nDocument CO-021, revision 4, 9 September 2020. Valid from 1 October 2020.", "2020-09-09"),
        ("Issued 2023-11-27 by Sales", "2023-11-27"),
        ("Version 2.1, March 5, 2021", "2021-03-05"),
        ("Revision 3 (12.03.2024)", "2024-03-12"),
        ("Документ AR-214, редакция 4, 28 марта 2022 года.", "2022-03-28"),
        ("文件 AR-233，第 2 版，2024 年 3 月 6 日。", "2024-03-06"),
        ("Frédéric Chopin (1 March 1810 – 17 October 1849) was a composer.", None),
        ("The meeting was on 4 May 2021.", None),
        ("Revision 4, 31 February 2020", None),
        ("Revision 4, 9 Smarch 2020", None),
        ("", None),
    ],
)
def test_only_what_the_head_calls_the_documents_date(text: str, date: str | None) -> None:
    assert stated_date(text) == date


def test_a_date_far_down_is_not_the_documents() -> None:
    assert stated_date("word " * 400 + "revision 4, 9 September 2020") is None
