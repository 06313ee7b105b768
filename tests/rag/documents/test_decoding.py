import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.documents.decoding import declared_encoding, decode
from rag.errors import SourceError

RUSSIAN = "Масло меняют через каждые 2000 часов работы. Насос ЦП-40 подключают к сети 400 В."
CHINESE = "泵的润滑油每两千小时更换一次。密封件型号为 ZP-40。"
JAPANESE = "ポンプの潤滑油は二千時間ごとに交換します。型番はZP-40です。"
GERMAN = "Die Ölmenge beträgt 0,45 Liter; prüfen Sie die Dichtung jährlich. Schrauben für Gehäuse."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (RUSSIAN, "utf-16"),
        (RUSSIAN, "utf-16-le"),
        (RUSSIAN, "utf-8-sig"),
        ("Насос", "cp1251"),
        (CHINESE, "gbk"),
        (CHINESE, "gb18030"),
        (CHINESE, "utf-16-be"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (GERMAN, "latin-1"),
        (GERMAN, "utf-32"),
    ],
)
def test_legacy_encodings_are_recognised(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_utf8_is_always_read_as_utf8(text: str) -> None:
    assert decode(text.encode("utf-8")) == text.removeprefix("\ufeff")


def test_a_declared_encoding_is_believed_where_it_fits() -> None:
    word = "Č"
    assert decode(word.encode("cp1250"), "cp1250") == word
    assert decode(RUSSIAN.encode("utf-8"), "cp1251") == RUSSIAN
    assert decode(RUSSIAN.encode("cp1251"), "no-such-encoding") == RUSSIAN


def test_the_declaration_is_found_in_the_head() -> None:
    assert declared_encoding(b'<meta charset="windows-1251">') == "windows-1251"
    assert declared_encoding(b"<meta http-equiv=Content-Type content='text/html; charset=GBK'>") == "GBK"
    assert declared_encoding(b"<p>none</p>") is None


@pytest.mark.parametrize("data", [bytes(range(256)) * 3, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0\x01\0"])
def test_binary_data_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError, match="binary"):
        decode(data)
