"""Alembic migrations of the control plane's database, found as a package and so part of the wheel."""
