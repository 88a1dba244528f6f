"""The certificates of one local cluster: an authority of its own, made in its folder and worth nothing elsewhere."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contract.values import value

LIFETIME = timedelta(days=30)
"""Longer than any test cluster; clocks that go a little wrong are forgiven at the beginning."""
SERVER_NAMES = (
    *("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
    "kubernetes.default.svc.cluster.local",
)
SERVER_ADDRESS = ipaddress.ip_address("127.0.0.1")


@value
class Credentials:
    certificate: Path
    key: Path


class Authority:
    """Writes `NAME.crt` and `NAME.key` for whoever it is asked for; its own key never leaves the process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("cellwallet local cluster")
        built = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_signing_usage(), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        self.certificate = folder / "authority.crt"
        self.certificate.write_bytes(built.public_bytes(Encoding.PEM))

    def issue(self, file: str, *, user: str, group: str | None = None) -> Credentials:
        """For a client and, on 127.0.0.1, for a server: etcd calls itself with the certificate that it serves with."""
        key = ec.generate_private_key(ec.SECP256R1())
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        names = [*map(x509.DNSName, SERVER_NAMES), x509.IPAddress(SERVER_ADDRESS)]
        built = (
            _builder(_name(user, group), self._name, key.public_key())
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(self._identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        certificate = self._folder / f"{file}.crt"
        certificate.write_bytes(built.public_bytes(Encoding.PEM))
        return Credentials(certificate=certificate, key=self._write_key(file, key))

    def key_pair(self, file: str) -> tuple[Path, Path]:
        """Private and public key without a certificate: what tokens of service accounts are signed by."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = self._folder / f"{file}.pub"
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return self._write_key(file, key), public

    def _write_key(self, file: str, key: ec.EllipticCurvePrivateKey) -> Path:
        path = self._folder / f"{file}.key"
        path.touch(mode=0o600)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return path


def _name(user: str, group: str | None = None) -> x509.Name:
    """Kubernetes reads the user from the common name and its groups from the organizations."""
    parts = [] if group is None else [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _signing_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
