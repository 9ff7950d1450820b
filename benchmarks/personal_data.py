"""Labelled sentences with personal data that nobody made for our patterns: numbers by Faker and by Google's libphonenumber.

    pip install faker phonenumbers
    python benchmarks/personal_data.py [--seed 2] [--target tests/cleaning/pii_generated.jsonl]

E-mail addresses, public IP addresses, account, card and identity numbers are Faker's, of a dozen countries; telephone
numbers are libphonenumber's examples, a landline and a mobile of every region, in its own formats. Half of the sentences
hold no personal data but other numbers. A seed that nobody looked at while patterns are written tells how well they do on
what they were not written for. This file needs nothing of Textmill.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import phonenumbers
from faker import Faker
from phonenumbers import PhoneNumberFormat, PhoneNumberType

TARGET = Path(__file__).parents[1] / "tests" / "cleaning" / "pii_generated.jsonl"
EACH = 60
OTHERS_EACH = 6
MIN_TELEPHONE_DIGITS = 7
"""Some islands have numbers of five; nothing tells them from other numbers."""
LOCALES = ["en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL", "sv_SE", "pt_BR", "zh_CN", "ja_JP"]
IBAN_LOCALES = [*LOCALES[1:8], "fi_FI", "de_AT", "pt_PT", "no_NO", "de_CH", "en_IE", "da_DK", "cs_CZ"]
CARDS = ["visa16", "mastercard", "amex", "discover", "jcb16", "diners"]
FORMATS = (PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.NATIONAL, PhoneNumberFormat.E164)

AROUND = {
    "email": [
        "You can reach {n} at {x} until noon.", "{x} wrote: thanks!", "Von: {n} <{x}>", "contacto: {x}", "请发邮件至{x}。",
        "Cc: {x}; see below", "e-mail={x}&lang=en", "Skriv till {x}, tack.", '"{x}" bounced twice',
    ],
    "ip": [
        "Connection from {x} refused", "ssh root@{x}", '{x} - - [10/Oct/2020:13:55:36] "GET / HTTP/1.0" 200',
        "服务器{x}已关闭", "The attacker used {x} twice.", "nameserver {x}", "(peer {x})",
    ],
    "iban": [
        "Bitte auf {x} überweisen.", "IBAN: {x}", "Account {x} was closed.", "Virement vers {x}, merci",
        "conto {x} intestato a {n}", "rekening {x} t.n.v. {n}",
    ],
    "card": [
        "Paid with {x} yesterday.", "Kreditkarte {x}, gültig bis 08/29", "card no. {x}", "{n}: {x}",
        "Tarjeta {x} rechazada", "信用卡号 {x} 已过期",
    ],
    "chinese_id": [
        "身份证号码{x}", "公民身份号码：{x}，性别男", "证件号 {x} 已核验", "{n}（身份证：{x}）", "ID {x} of the applicant",
    ],
    "chinese_mobile": [
        "请致电{x}联系{n}", "手机：{x}", "电话 {x}（微信同号）", "call him on {x} please", "{n} {x} 收", "短信发送到{x}即可",
    ],
    "phone": [
        "Please call {x} after six.", "Tel.: {x}", "{n}, Telefon {x}", "Téléphone : {x}", "phone {x}, fax on request",
        "Teléfono: {x}.", "тел. {x}", "联系电话：{x}",
    ],
    "international phone": ["{x} is the hotline.", "{n} ({x})", "We tried {x} twice.", "Mobile: {x}", "WhatsApp {x}"],
}  # fmt: skip
"""{x} is the number, {n} a name. A telephone number without its country's code has a word for telephoning beside it."""
OTHER = [
    "ISBN {isbn13} costs {price}", "ISBN-10 {isbn10}.", "{isbn13}", "EAN {ean} was scanned", "commit {sha1} broke it",
    "md5 {md5}", "id {uuid} not found", "On {iso} at {time} it rained.", "am {german} um {time} Uhr",
    "{american} to {american2}", "{n}, born {iso}", "between {year} and {year2}, {year}-{year2}", "MAC {mac} joined",
    "gateway {private}", "upgrade to version {version}", "lat {lat}, lon {lon}", "population {grouped}",
    "{grouped} EUR in {year}", "pages {low}-{high}", "order #{long} shipped", "serial {serial}", "订单号{long}",
    "card {wrong_card} is not valid", "IBAN {wrong_iban} is wrong", "身份证{wrong_id}校验错误", "score {a}:{b}",
    "a matrix of {a}x{b}x{low}", "in [{low}, {high}] or ({a}.{b})", "phi = {real}", "x = {real}, y = -{real}",
    "timestamp {stamp}", "localhost_{stamp}.csv", "arXiv:{arxiv} and doi:10.{doi}", "@{user} said so",
    "see {user}@localhost", "colour {colour}", "invoice {year}-{serial}", "§ {a}.{b}.{a}", "flight {flight} at gate {a}",
    "room {low}, floor {a}", "RFC {low}, section {a}.{b}", "tracking {tracking}", "ratio {a}/{b}/{low}",
]  # fmt: skip


class Writer:
    """Sentences of one seed."""

    def __init__(self, seed: int) -> None:
        Faker.seed(seed)
        self.draw = random.Random(seed)  # noqa: S311 - test data
        self.fakers = {name: Faker(name) for name in LOCALES}
        self.ibans = [Faker(name) for name in IBAN_LOCALES]

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every kind, then telephone numbers, then sentences without personal data."""
        for kind in ("email", "ip", "iban", "card", "chinese_id", "chinese_mobile"):
            for index in range(EACH):
                value = self.value(kind, self.fakers[LOCALES[index % len(LOCALES)]])
                yield self.sentence(kind, AROUND[kind][index % len(AROUND[kind])], value)
        for index, value in enumerate(self.telephones()):
            around = AROUND["international phone" if value.startswith("+") else "phone"]
            yield self.sentence("phone", around[index % len(around)], value)
        for _ in range(OTHERS_EACH):
            yield from ({"text": template.format(**self.others()), "spans": []} for template in OTHER)

    def sentence(self, kind: str, template: str, value: str) -> dict[str, Any]:
        before, _, after = template.replace("{n}", self.name()).partition("{x}")
        return {"text": before + value + after, "spans": [[kind, len(before), len(before) + len(value)]]}

    def name(self) -> str:
        return str(self.fakers[self.draw.choice(LOCALES)].name())

    def value(self, kind: str, faker: Any) -> str:
        match kind:
            case "email":
                return str(self.draw.choice([faker.email(), faker.company_email(), faker.free_email()]))
            case "ip":
                return self.address(faker)
            case "iban":
                plain = str(self.draw.choice(self.ibans).iban())
                groups = [plain[start : start + 4] for start in range(0, len(plain), 4)]
                return plain if self.draw.random() < 0.5 else " ".join(groups)
            case "card":
                plain = self.card()
                cuts = (4, 10) if len(plain) < 16 else (4, 8, 12)
                groups = [plain[i:j] for i, j in zip((0, *cuts), (*cuts, len(plain)), strict=True)]
                return self.draw.choice(["", " ", "-"]).join(groups)
            case "chinese_id":
                return str(self.fakers["zh_CN"].ssn())
        plain = str(self.fakers["zh_CN"].phone_number())
        groups = [plain[:3], plain[3:7], plain[7:]]
        return str(self.draw.choice([plain, plain, " ".join(groups), "-".join(groups), f"+86 {plain}"]))

    def card(self) -> str:
        """Of a prefix that is given out: of those that begin with 35, JCB has 3528 to 3589, and Faker takes all."""
        while True:
            plain = str(self.fakers["en_US"].credit_card_number(self.draw.choice(CARDS)))
            if not plain.startswith("35") or "3528" <= plain[:4] <= "3589":
                return plain

    def address(self, faker: Any) -> str:
        """A public one; Faker's of version 6 are of no network that is in use."""
        while True:
            six = ipaddress.IPv6Address((0x2A00 << 112) | self.draw.getrandbits(96))
            found = str(six) if self.draw.random() < 0.25 else str(faker.ipv4_public())
            if ipaddress.ip_address(found).is_global:
                return found

    def telephones(self) -> Iterator[str]:
        """An example of each region, mobile numbers of China left out, which are a kind of their own."""
        for region in sorted(phonenumbers.SUPPORTED_REGIONS):
            for kind in (PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE):
                found = phonenumbers.example_number_for_type(region, kind)
                is_ours = found is not None and (region, kind) != ("CN", PhoneNumberType.MOBILE)
                if is_ours and len(str(found.national_number)) >= MIN_TELEPHONE_DIGITS:
                    yield phonenumbers.format_number(found, self.draw.choice(FORMATS))

    def others(self) -> dict[str, Any]:
        """Numbers and names that are no personal data of our kinds."""
        draw, faker = self.draw, self.fakers[self.draw.choice(LOCALES)]
        four = lambda: f"{draw.randrange(10**4):04}"  # noqa: E731
        return {
            "isbn13": faker.isbn13(), "isbn10": faker.isbn10(), "ean": faker.ean13(), "sha1": faker.sha1(),
            "md5": faker.md5(), "uuid": faker.uuid4(), "mac": faker.mac_address(), "private": faker.ipv4_private(),
            "iso": faker.date(), "time": faker.time(), "german": faker.date("%d.%m.%Y"), "n": self.name(),
            "american": faker.date("%m/%d/%Y"), "american2": faker.date("%m/%d/%Y"), "price": faker.pricetag(),
            "version": ".".join(str(draw.randrange(30)) for _ in range(4)), "user": faker.user_name(),
            "lat": f"{draw.uniform(-90, 90):.6f}", "lon": f"{draw.uniform(-180, 180):.6f}",
            "grouped": f"{draw.randrange(10**6, 10**9):,}".replace(",", draw.choice([",", ".", " "])),
            "low": draw.randrange(100, 999), "high": draw.randrange(1000, 1999), "long": draw.randrange(10**9, 10**12),
            "serial": f"{four()}-{four()}-{four()}", "a": draw.randrange(1, 99), "b": draw.randrange(1, 99),
            "wrong_card": _wrong(self.fakers["en_US"].credit_card_number("visa16"), 8),
            "wrong_iban": _wrong(self.ibans[0].iban(), 10), "wrong_id": _wrong(self.fakers["zh_CN"].ssn(), 15),
            "year": draw.randrange(1700, 1950), "year2": draw.randrange(1950, 2026),
            "real": f"{draw.random():.{draw.randrange(6, 17)}f}", "stamp": draw.randrange(1_500_000_000, 1_800_000_000),
            "arxiv": f"{draw.randrange(7, 25):02}{draw.randrange(1, 13):02}.{draw.randrange(10**5):05}",
            "doi": f"{draw.randrange(1000, 9999)}/{draw.randrange(10**7)}", "colour": f"#{draw.getrandbits(24):06x}",
            "flight": f"LH{draw.randrange(100, 9999)}", "tracking": "".join(str(draw.randrange(10)) for _ in range(22)),
        }  # fmt: skip


def _wrong(number: str, place: int) -> str:
    """With another digit at the place, so that its checksum fails."""
    return f"{number[:place]}{(int(number[place]) + 1) % 10}{number[place + 1 :]}"


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args()
    lines = [json.dumps(line, ensure_ascii=False) for line in Writer(options.seed).lines()]
    options.target.write_text("\n".join(lines) + "\n")
    print(f"{options.target}: {len(lines)} lines")


if __name__ == "__main__":
    main()
