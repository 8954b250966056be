"""C2PA: a signed statement inside a video that it is synthetic, which becomes invalid when the video is changed.

The signing certificate is made on this machine at first use. It proves that a file has not been changed since, not who
made it: verifiers report that the signer is not trusted. Put a trusted key and chain into the folder to change that.
Source: C2PA 2.1, by c2pa-python; nothing is fetched, so there is no trusted time stamp.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stages.core.settings import ConfigError
from stages.core.storage import write_text

KEY, CHAIN = "key.pem", "chain.pem"
MIME = "video/mp4"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for real pictures with parts that a model made."""
ON_DISK = {"core": {"backing_store_memory_threshold_in_mb": 16}}
"""Setting that puts the library's working copy of larger files on disk; a second copy stays in memory."""
VALID_DAYS = 3650
UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class Credentials:
    """Result of checking a file's C2PA manifest.

    Args:
        intact: whether signature and content agree.
        trusted: whether the signer is trusted.
    """

    intact: bool
    trusted: bool
    signer: str
    statement: dict[str, Any]


def sign(source: Path, target: Path, statement: dict[str, Any], folder: Path) -> None:
    """Write `target`, an MP4 with a signed statement of its origin.

    Args:
        folder: folder of `key.pem` and `chain.pem`, which are made if missing.
    Raises:
        ConfigError: the key and the chain cannot be used.
    """
    import c2pa

    if not (folder / KEY).is_file():
        _make_certificate(folder)
    chain, key = ((folder / name).read_bytes() for name in (CHAIN, KEY))
    manifest = {
        "claim_generator_info": [{"name": "kouxing"}],
        "title": target.name,
        "format": MIME,
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}]},
            },
            {"label": "org.kouxing.made", "data": statement},
        ],
    }
    try:
        info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=chain, private_key=key, ta_url=None)
        with (
            c2pa.Context(c2pa.Settings.from_dict(ON_DISK)) as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(manifest, context) as builder,
            source.open("rb") as read,
            target.open("w+b") as written,
        ):
            builder.sign(signer, MIME, read, written)
    except c2pa.C2paError as error:
        raise ConfigError(f"{folder}: {error}. Take its files away, and new ones are made") from error


def read_credentials(path: Path) -> Credentials | None:
    """Check the file's manifest; None without one, or if the file is no MP4.

    Raises:
        ValueError: the manifest cannot be read.
    """
    import c2pa

    try:
        with path.open("rb") as file:
            if file.read(8)[4:] != b"ftyp":
                return None
            file.seek(0)
            with c2pa.Reader(MIME, file) as reader:
                store = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:  # pyright: ignore[reportAttributeAccessIssue]
        return None
    except c2pa.C2paError as error:
        raise ValueError(f"the C2PA manifest of {path} cannot be read: {error}") from error
    manifest = store["manifests"][store["active_manifest"]]
    problems = {status["code"] for status in store.get("validation_status", [])}
    made = [a["data"] for a in manifest["assertions"] if a["label"] == "org.kouxing.made"]
    return Credentials(
        intact=not problems - {UNTRUSTED},
        trusted=UNTRUSTED not in problems,
        signer=manifest.get("signature_info", {}).get("issuer", ""),
        statement=made[0] if made else {},
    )


def _make_certificate(folder: Path) -> None:
    """Make a certificate of this machine's own authority, in the form that C2PA requires."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    begin = datetime.now(UTC) - timedelta(hours=1)
    uses = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    unused = dict.fromkeys([*uses, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"], False)

    def name(common: str) -> x509.Name:
        organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "kouxing, this machine only")
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common), organization])

    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def certificate(common: str, owner: ec.EllipticCurvePrivateKey, *extensions: tuple[x509.ExtensionType, bool]):
        identifiers = (
            x509.SubjectKeyIdentifier.from_public_key(owner.public_key()),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
        )
        builder = x509.CertificateBuilder().subject_name(name(common)).issuer_name(name("authority"))
        builder = builder.public_key(owner.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=VALID_DAYS))
        for extension, critical in (*extensions, *((identifier, False) for identifier in identifiers)):
            builder = builder.add_extension(extension, critical)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    signer = certificate(
        "signer",
        key,
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(**(unused | {"digital_signature": True})), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), True),
    )
    root = certificate(
        "authority",
        authority,
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (x509.KeyUsage(**(unused | {"key_cert_sign": True, "crl_sign": True})), True),
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_text(folder / CHAIN, signer + root)
    write_text(folder / KEY, key.private_bytes(*form).decode())
    (folder / KEY).chmod(0o600)
