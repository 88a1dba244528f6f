"""Key files: what is refused at the start, and what a rotation does."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from platform_keys import PlatformKeys

from contract.signing import public_jwk, public_keys_of, verify
from control_plane.keys import KeyMustBeUsableError, read_issuer_keys, read_signing_key


@pytest.fixture
def keys(tmp_path: Path) -> PlatformKeys:
    return PlatformKeys(tmp_path)


def test_what_is_signed_can_be_verified(keys: PlatformKeys) -> None:
    signing_key = read_signing_key(keys.signing_key_file, key_id="cp-1")
    signed = json.loads(signing_key.signed_text({"version": 1, "text": "ü"}))
    assert verify(signed, public_keys_of(signing_key.jwks())) == {"version": 1, "text": "ü"}
    assert "d" not in signing_key.jwks()["keys"][0]


@pytest.mark.parametrize("content", [None, b"", b"no key", "other"])
def test_an_unusable_signing_key_is_refused(tmp_path: Path, content: bytes | str | None) -> None:
    file = tmp_path / "key.pem"
    if content == "other":
        other = ec.generate_private_key(ec.SECP256R1())
        file.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    elif isinstance(content, bytes):
        file.write_bytes(content)
    with pytest.raises(KeyMustBeUsableError):
        read_signing_key(file, key_id="cp-1")


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"keys": {}}', '{"keys": [1]}', '{"keys": [{"kty": "OKP"}]}']
)
def test_an_unusable_issuer_file_is_refused_at_the_start(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "jwks.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(KeyMustBeUsableError):
        read_issuer_keys(file)


def test_a_rotation_is_seen_and_a_broken_one_is_survived(keys: PlatformKeys) -> None:
    issuer = read_issuer_keys(keys.issuer_jwks_file)
    following = public_jwk(keys.stranger.public_key(), key_id="issuer-2")
    keys.write_issuer_jwks([following])
    issuer.refresh()
    assert issuer.jwks == {"keys": [following]}
    keys.issuer_jwks_file.write_text("half a fi")
    issuer.refresh()
    keys.issuer_jwks_file.unlink()
    issuer.refresh()
    assert issuer.jwks == {"keys": [following]}
