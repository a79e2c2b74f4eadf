"""Makes the certificates of the tests: an authority, and two certificates for localhost that it signed.

Their keys are secret to nobody. Needs the package `cryptography`.
"""

import ipaddress
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = Path(__file__).parent
BEGIN, END = datetime(2020, 1, 1), datetime(2120, 1, 1)


def named(name):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def signed(name, key, issuer, issuer_key, extensions):
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(END)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def write(path, certificate):
    (HERE / path).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


authority, curve = "Authority of the tests", ec.SECP256R1()
authority_key = ec.generate_private_key(curve)
signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
own_key = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
extensions = [(x509.BasicConstraints(True, None), True), (signs, True), (own_key, False)]
write("authority.pem", signed(authority, authority_key, authority, authority_key, extensions))
names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
of_authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
for name in ["one", "two"]:
    key = ec.generate_private_key(curve)
    extensions = [(names, False), (x509.BasicConstraints(False, None), True), (of_authority, False)]
    write(f"{name}.pem", signed(name, key, authority, authority_key, extensions))
    form = serialization.PrivateFormat.PKCS8
    text = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (HERE / f"{name}.key").write_bytes(text)
