"""The revision of the schema that this version of the software works with; a test holds it to the migrations."""

SCHEMA_REVISION = "0010"
