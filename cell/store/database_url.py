"""A database URL as SQLAlchemy names it."""


def sqlalchemy_url(database_url: str) -> str:
    """`postgresql://...` as SQLAlchemy names it for psycopg 3."""
    return database_url.replace("postgresql://", "postgresql+psycopg://", 1)
