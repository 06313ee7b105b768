import pytest

from rag.documents.languages import detect_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The gear oil of the ZP-40/2 is changed every 2,000 hours.", "en"),
        ("Bolts, torque, gasket kit, washers and seals M8 14 Nm", "en"),
        ("What does the spare part ZP-40/2-071 cost?", "en"),
        ("Замена масла в насосе и фильтре ЦП-40", "ru"),
        ("Сколько масла нужно насосу?", "ru"),
        ("HX-12 的油温上限是多少？", "zh"),
        ("CP-125/400L 的叶轮用青铜制造，流量相同", "zh"),
        ("ポンプの潤滑油は二千時間ごとに交換します", "ja"),
        ("펌프의 윤활유는 이천 시간마다 교환합니다", "ko"),
        ("Заміна масла кожні дві тисячі годин роботи", "uk"),
        ("Die Ölmenge beträgt vier Liter, prüfen Sie die Dichtung.", "de"),
        ("L'huile est changée toutes les deux mille heures.", "fr"),
    ],
)
def test_languages_are_told_apart_on_short_texts(text: str, language: str) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize("text", ["", "ZP-40/2-071 4711 12.5", "Насос", "泵", "short"])
def test_too_few_letters_have_no_language(text: str) -> None:
    assert detect_language(text) is None


def test_part_numbers_do_not_make_a_text_english() -> None:
    assert detect_language("订货号 ZP-9001 ZP-9002 ZP-9003 ZP-9004 CP-K101 的价格和交货时间见下表") == "zh"
