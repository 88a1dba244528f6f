"""Money: integers of minor units with an ISO 4217 code. No floats, no rounding, no exchange.

Amounts and balances stay within 2^53-1, so that a JSON client that reads numbers as doubles cannot lose a cent.
"""

from typing import NewType

Currency = NewType("Currency", str)

AMOUNT_MAX = 2**53 - 1

_MINOR_UNIT_DIGITS = {
    0: """
BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF
""",
    2: """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD
HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK
MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD
RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH
USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
""",
    3: """
BHD IQD JOD KWD LYD OMR TND
""",
    4: """
CLF UYW
""",
}

MINOR_UNIT_DIGITS: dict[str, int] = {
    code: digits for digits, codes in _MINOR_UNIT_DIGITS.items() for code in codes.split()
}
"""ISO 4217 code to the number of digits after the point. Codes without a minor unit (metals, tests) are not money."""


def is_currency(code: str) -> bool:
    return code in MINOR_UNIT_DIGITS


def decimal_text(amount: int, currency: str) -> str:
    """`-123456, "EUR"` -> `"-1234.56"`, for programs that know no minor units."""
    digits = MINOR_UNIT_DIGITS[currency]
    sign = "-" if amount < 0 else ""
    if digits == 0:
        return f"{sign}{abs(amount)}"
    whole, rest = divmod(abs(amount), 10**digits)
    return f"{sign}{whole}.{rest:0{digits}d}"


def amount_text(amount: int, currency: str) -> str:
    """`123456, "EUR"` -> `"1,234.56"`, for people."""
    digits = MINOR_UNIT_DIGITS[currency]
    sign = "-" if amount < 0 else ""
    if digits == 0:
        return f"{sign}{abs(amount):,}"
    whole, rest = divmod(abs(amount), 10**digits)
    return f"{sign}{whole:,}.{rest:0{digits}d}"
