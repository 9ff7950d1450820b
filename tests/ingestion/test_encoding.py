"""Text is decoded as it was written, or refused; nothing is decoded into something else."""

from __future__ import annotations

import codecs
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from pipeline.ingestion.encoding import SAMPLE_BYTES, decode
from pipeline.ingestion.items import FileRejected
from pipeline.ingestion.text_stream import head_encoding, read_head

FRENCH = "Où sont passés les élèves ? Ils étaient là, près de la forêt, à l’été dernier.\n" * 5
RUSSIAN = "Все люди рождаются свободными и равными в своём достоинстве и правах.\n" * 5


def detect(data: bytes) -> str:
    return decode(data, encoding="detect", facts=Counter())


def reason(data: bytes, encoding: str = "detect") -> str:
    with pytest.raises(FileRejected) as caught:
        decode(data, encoding=encoding, facts=Counter())
    return caught.value.reason


def test_utf8_with_and_without_a_mark() -> None:
    assert detect(FRENCH.encode()) == FRENCH
    assert detect(codecs.BOM_UTF8 + FRENCH.encode()) == FRENCH


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wide_encodings_by_their_mark(encoding: str) -> None:
    assert detect(FRENCH.encode(encoding)) == FRENCH


def test_line_ends_become_newlines() -> None:
    assert detect(b"a\r\nb\rc\n") == "a\nb\nc\n"


def test_one_byte_encodings_are_detected_and_counted() -> None:
    facts: Counter[str] = Counter()
    assert decode(RUSSIAN.encode("cp1251"), encoding="detect", facts=facts) == RUSSIAN
    assert facts == {"encoding cp1251": 1}
    assert detect(FRENCH.encode("cp1252")) == FRENCH


@pytest.mark.parametrize(
    ("encoding", "sentence"),
    [
        ("gb18030", "今天的天气很好，我们去公园散步，看到了很多花和树。"),
        ("big5", "今天的天氣很好，我們去公園散步，看到了很多花和樹。"),
        ("cp932", "今日はとても天気がいいので、公園に散歩に行きました。"),
        ("euc_jp", "今日はとても天気がいいので、公園に散歩に行きました。"),
        ("cp949", "오늘은 날씨가 매우 좋아서 공원에 산책을 갔습니다."),
    ],
)
@pytest.mark.parametrize("end", ["", "\n"], ids=["one line", "lines"])
def test_a_long_file_is_detected_wherever_its_sample_ends(encoding: str, sentence: str, end: str) -> None:
    """The sample ends within a character for one of each two paddings."""
    text = (sentence + end) * (SAMPLE_BYTES // 40)
    assert len(text.encode(encoding)) > SAMPLE_BYTES
    for padding in ("", "a"):
        data = (padding + text).encode(encoding)
        assert detect(data) == padding + text
        head, _ = read_head(iter([data]))
        assert data.decode(head_encoding(head, encoding="detect", facts=Counter())) == padding + text


def test_a_damaged_place_in_utf8_is_refused_with_its_line() -> None:
    lines = FRENCH.encode().split(b"\n")
    lines[2] = lines[2][:10] + b"\xff\xfe" + lines[2][10:]
    with pytest.raises(FileRejected, match="line 3") as caught:
        detect(b"\n".join(lines))
    assert caught.value.reason == "invalid_utf8"
    assert reason(b"plain ASCII with one stray \xc3 byte and caf\xc3\xa9") == "invalid_utf8"


def test_binary_data_is_refused() -> None:
    assert reason(bytes(range(256)) * 20) in ("binary", "unknown_encoding")
    assert reason("no mark".encode("utf-16-le") + b"\xff\xff") == "binary"


def test_a_given_encoding_is_held_to() -> None:
    assert decode(b"caf\xe9", encoding="cp1252", facts=Counter()) == "café"
    assert reason(b"caf\xe9", "utf-8") == "invalid_utf8"
    assert reason("Привет".encode(), "ascii") == "undecodable"


def test_a_damaged_text_with_a_utf8_mark_is_refused() -> None:
    assert reason(codecs.BOM_UTF8 + b"caf\xe9") == "invalid_utf8"


def test_texts_of_human_rights_are_right_or_refused(corpora: Path) -> None:
    """NLTK names the encoding of each translation; a wrong guess would be mojibake in a corpus.

    The files left out, and all that are called Latin2, are mislabelled: read by their label they have wrong letters.
    """
    names = {"Latin1": "cp1252", "Cyrillic": "cp1251", "Hebrew": "cp1255", "SJIS": "shift_jis"}
    names |= {"Arabic": "cp1256", "Greek": "iso8859_7", "EUC": "euc_jp", "GB2312": "gb2312"}
    mislabelled = ("Hungarian", "Latvian", "Vlach")
    right, wrong, refused = [], [], []
    with zipfile.ZipFile(corpora / "udhr.zip") as archive:
        for name in archive.namelist():
            codec = names.get(name.rsplit("-", 1)[-1])
            if codec is None or name.removeprefix("udhr/").startswith(mislabelled):
                continue
            data = archive.read(name)
            try:
                data.decode()
            except UnicodeDecodeError:
                pass
            else:
                continue  # nothing to guess
            try:
                text = detect(data)
            except FileRejected:
                refused.append(name)
                continue
            expected = data.decode(codec, "replace").replace("\r\n", "\n").replace("\r", "\n")
            (right if text == expected else wrong).append(name)
    assert not wrong
    assert len(right) >= 40, (len(right), refused)


def test_latin_labels_that_are_wrong_are_read_right(corpora: Path) -> None:
    with zipfile.ZipFile(corpora / "udhr.zip") as archive:
        assert "obradująca w Paryżu" in detect(archive.read("udhr/Polish-Latin2"))
        assert "együttműködve biztosítják" in detect(archive.read("udhr/Hungarian_Magyar-Latin1"))
