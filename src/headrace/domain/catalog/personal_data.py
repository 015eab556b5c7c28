"""Guesses where a payload has personal data, from the form of values and keys.

It is meant as a warning and errs on the side of too many findings. Only the kind is kept.
"""

from __future__ import annotations

import ipaddress
import re

from headrace.domain.ids import UUID_TEXT

#: Bits of what a value looks like. Kinds of personal data come first and are stored: append only.
EMAIL, PHONE, CARD_NUMBER, IP_ADDRESS, NAME = (1 << bit for bit in range(5))
PERSONAL = EMAIL | PHONE | CARD_NUMBER | IP_ADDRESS | NAME
#: Formats that are not personal data.
DATE, UUID, URL, TEXT, INTEGER, DECIMAL = (1 << bit for bit in range(8, 14))

#: Kind as it is shown -> its bit.
KINDS = {
    "email": EMAIL,
    "phone": PHONE,
    "card_number": CARD_NUMBER,
    "ip_address": IP_ADDRESS,
    "name": NAME,
}

#: Characters of a text that are inspected.
LOOKED_AT_MAX = 1000

_EMAIL = re.compile(r"[^\s@<>,;:\"'()\[\]\\]{1,64}@[^\s@<>,;:\"'()\[\]\\]{1,200}\.\w{2,}")
_DIGIT = re.compile(r"\d")
_DATE = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?\s?(?:Z|[+-]\d\d:?\d\d)?)?"
)
_CARD = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w])")
_PHONE = re.compile(r"(?<![\w.+])(?:\+|\()?\d[\d ()/-]{5,18}\d(?!\w)")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
# Possessive throughout: with backtracking, a thousand colons would be split in every possible way.
_IPV6 = re.compile(
    r"(?<![\w:.])[0-9a-fA-F]{0,4}+:[0-9a-fA-F]{0,4}+:[0-9a-fA-F:]*+(?:\.\d{1,3}){0,3}+(?![\w:])"
)
_URL = re.compile(r"[a-z][a-z0-9+.-]{1,20}://\S", re.IGNORECASE)

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\W\d_a-zA-Z]+|\d+")


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_NAME_KEYS = _words(
    "firstname lastname fullname middlename surname familyname givenname forename maidenname",
    "nickname username displayname realname legalname birthname customername contactname",
    "recipientname cardholder cardholdername accountholder holdername vorname nachname prenom",
    "nombre apellido birthdate birthday dateofbirth dob ssn passport passportnumber",
)
#: Parents below which a plain `name` is the name of a person.
_NOT_PEOPLE = _words(
    "item items product products plan file event campaign list topic audience store shop",
    "category variant sku brand company organization organisation project page app device",
    "browser os team tag tags currency country city region market channel",
)
_EMAIL_KEYS = frozenset({"email", "emails", "mail", "emailaddress", "mailaddress"})
_PHONE_KEYS = frozenset({"phone", "mobile", "telephone", "tel", "fax", "cellphone", "phonenumber"})
_IP_KEYS = frozenset({"ip", "ipaddress", "ipaddr", "clientip", "remoteip", "remoteaddr"})
_CARD_KEYS = frozenset({"cardnumber", "ccnumber", "creditcard", "creditcardnumber", "pan"})


def look_of_text(text: str) -> int:
    """Bits for the form of a string."""
    if text.isalpha():
        return TEXT
    if len(text) > LOOKED_AT_MAX:
        text = text[:LOOKED_AT_MAX]
    looks = EMAIL if "@" in text and _EMAIL.search(text) else 0
    if _DIGIT.search(text):
        if _DATE.fullmatch(text):
            return DATE
        if UUID_TEXT.fullmatch(text):
            return UUID
        looks |= _look_of_digits(text)
    if ":" in text:
        if _URL.match(text):
            return looks | URL
        if any(_is_address(found) for found in _IPV6.findall(text)):
            looks |= IP_ADDRESS
    return looks or TEXT


def look_of_integer(value: int) -> int:
    """Bits for the form of a whole number."""
    if 10**12 <= value < 10**19 and is_card_number(str(value)):
        return INTEGER | CARD_NUMBER
    return INTEGER


def _look_of_digits(text: str) -> int:
    looks = 0
    if any(is_card_number(found) for found in _CARD.findall(text)):
        looks |= CARD_NUMBER
    elif any(_is_phone(found) for found in _PHONE.findall(text)):
        looks |= PHONE
    if any(_is_address(found) for found in _IPV4.findall(text)):
        looks |= IP_ADDRESS
    return looks


def is_card_number(text: str) -> bool:
    """Whether 13 to 19 digits begin like a card's and end with the right check digit (Luhn)."""
    digits = [int(character) for character in text if character.isascii() and character.isdigit()]
    if not 13 <= len(digits) <= 19 or digits[0] not in (2, 3, 4, 5, 6):
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_phone(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    if not 8 <= digits <= 15:
        return False
    groups = len(re.split(r"[ ()/-]+", text.strip(" ()/-")))
    return text[0] in "+(0" or groups >= 3


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return text != "::"


def look_of_key(key: str, parent: str) -> int:
    """Kinds of personal data that a member named so holds, whatever its text.

    Args:
        parent: name of the member that the object is the value of; empty at the top.
    """
    words = [word.lower() for word in _WORDS.findall(key[:LOOKED_AT_MAX])]
    joined = "".join(words)
    if joined == "name":
        return 0 if _singular_words(parent) & _NOT_PEOPLE else NAME
    if joined in _NAME_KEYS:
        return NAME
    if joined in _EMAIL_KEYS or (words and words[-1] == "email"):
        return EMAIL
    if joined in _PHONE_KEYS or set(words) & {"phone", "mobile", "telephone"}:
        return PHONE
    if joined in _IP_KEYS or joined.endswith("ipaddress"):
        return IP_ADDRESS
    return CARD_NUMBER if joined in _CARD_KEYS else 0


def _singular_words(parent: str) -> set[str]:
    return {word.lower() for word in _WORDS.findall(parent[:LOOKED_AT_MAX])}


def kinds_of(looks: int) -> list[str]:
    """Names of the kinds of personal data among bits."""
    return [kind for kind, bit in KINDS.items() if looks & bit]
