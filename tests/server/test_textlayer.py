"""What is told from a text layer alone: whether it is a language, whether its letters are shifted."""

from __future__ import annotations

import pytest

from moonfs.server.extraction import textlayer

REAL = {
    "English": "The committee met on Tuesday to discuss the annual budget of the northern region.",
    "German": "Der Ausschuss trat am Dienstag zusammen, um über den Haushalt der Region zu beraten.",
    "French": "Le comité s'est réuni mardi pour discuter du budget annuel de la région du nord.",
    "Spanish": "El comité se reunió el martes para discutir el presupuesto anual de la región norte.",
    "Polish": "Komitet zebrał się we wtorek, aby omówić roczny budżet regionu północnego.",
    "Czech": "Výbor se sešel v úterý, aby projednal roční rozpočet severního regionu.",
    "Hungarian": "A bizottság kedden ülésezett, hogy megvitassa az északi régió éves költségvetését.",
    "Finnish": "Valiokunta kokoontui tiistaina keskustelemaan pohjoisen alueen talousarviosta.",
    "Turkish": "Komite, kuzey bölgesinin yıllık bütçesini görüşmek üzere salı günü toplandı.",
    "Vietnamese": "Ủy ban đã họp vào thứ Ba để thảo luận về ngân sách hàng năm của khu vực phía bắc.",
    "Welsh": "Cyfarfu'r pwyllgor ddydd Mawrth i drafod cyllideb flynyddol rhanbarth y gogledd.",
    "Swahili": "Kamati ilikutana Jumanne kujadili bajeti ya mwaka ya mkoa wa kaskazini.",
    "Russian": "Комитет собрался во вторник, чтобы обсудить годовой бюджет северного региона.",
    "Greek": "Η επιτροπή συνεδρίασε την Τρίτη για να συζητήσει τον ετήσιο προϋπολογισμό.",
    "Arabic": "اجتمعت اللجنة يوم الثلاثاء لمناقشة الميزانية السنوية للمنطقة الشمالية.",
    "Hindi": "समिति ने उत्तरी क्षेत्र के वार्षिक बजट पर चर्चा करने के लिए मंगलवार को बैठक की।",
    "Thai": "คณะกรรมการประชุมเมื่อวันอังคารเพื่อหารือเกี่ยวกับงบประมาณประจำปีของภาคเหนือ",
    "Chinese": "委员会于星期二举行会议，讨论北部地区的年度预算。几位成员指出，交通费用比上一年增长了。",
    "traditional": "委員會於星期二舉行會議，討論北部地區的年度預算。幾位成員指出，交通費用比上一年增長了。",
    "Japanese": "委員会は火曜日に会合を開き、北部地域の年間予算について議論した。数人の委員が指摘した。",
    "Korean": "위원회는 화요일에 회의를 열어 북부 지역의 연간 예산을 논의했다.",
    "code": "static int parse_args(int argc, char **argv, struct options *opts) { return opts->verbose; }",
    "shouting": "THE COMMITTEE MET ON TUESDAY TO DISCUSS THE ANNUAL BUDGET OF THE NORTHERN REGION",
    "numbers": "1,204.50 77.3 % 14 2041 7734 -0.5 3.1e-7 12:45 2026-11-27 (4.2) 98 97 95",
    "names": "Schwartz, Krzysztof; Nguyễn, Phúc; Ó Súilleabháin; Mkhitaryan; Szczęsny; Đặng; Wright",
}


def shifted(text: str, shift: int) -> str:
    return "".join(chr(ord(letter) - shift) if 32 <= ord(letter) < 127 else letter for letter in text)


@pytest.mark.parametrize("language", REAL)
def test_real_text_is_left_alone(language):
    text = REAL[language]
    assert not textlayer.is_garbage(text)
    assert not textlayer.is_odd(text)
    assert textlayer.find_shift(text) == 0
    assert textlayer.clean(text) == text


@pytest.mark.parametrize("language", ["English", "German", "French", "Polish", "Finnish", "shouting"])
@pytest.mark.parametrize("shift", [28, 29, 30, 31])
def test_shifted_text_is_found_and_put_right(language, shift):
    raw = shifted(REAL[language], shift)
    assert textlayer.find_shift(raw) == shift
    mended = textlayer.unshift(raw, shift)
    assert [one for one, other in zip(mended, REAL[language], strict=True) if one != other and one.isascii()] == []


def test_a_single_shifted_word():
    assert textlayer.find_shift("+HUDXVJHEHU") == 29
    assert textlayer.unshift("+HUDXVJHEHU", 29) == "Herausgeber"


def test_letters_beyond_ascii_follow_the_order_of_mac_roman():
    """Glyph 98 and on of a usual TrueType font: Ä Å Ç É Ñ Ö Ü á …"""
    assert textlayer.unshift(chr(98) + shifted("rger und Verdruss", 29), 29) == "Ärger und Verdruss"


def test_another_shift_takes_more_of_a_text():
    text = " ".join((REAL["English"], "Several members noted that figures for transport had risen since last year."))
    assert textlayer.find_shift(shifted(text, 5)) == 5
    assert textlayer.find_shift(shifted("Tuesday", 5)) == 0


@pytest.mark.parametrize(
    "codes",
    [
        "".join(chr(33 + n % 60) for n in range(60)) + "\r\n" + "".join(chr(93 + n % 30) for n in range(30)),
        "鼨龦鬖魆鸴黀齺鼒龘鱻麤驫骉羴猋灥掱劦刕" * 2,
        "\ua000\u1200\u0a05\u10d0\u2d30\u0710\u0e01\u13a0" * 5,
    ],
    ids=["numbered as they came", "characters nobody uses", "all scripts at once"],
)
def test_codes_are_odd(codes):
    assert textlayer.is_odd(codes)


def test_what_both_say_is_said_once():
    layer = "A stamp: page 7 of 12"
    assert textlayer.add_unsaid(layer, "a stamp:page 7 of l2\nThe text of the scan") == f"{layer}\nThe text of the scan"
    assert textlayer.is_like("RTX-4090 BKHXQ-l1", "RTX-4090 BKHXQ-11")
    assert not textlayer.is_like("The committee met", "7KH FRPPLWWHH PHW")
