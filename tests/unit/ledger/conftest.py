"""The fixtures of the ledger's tests."""

import pytest
from ledger_book import Book


@pytest.fixture
def book() -> Book:
    return Book()
