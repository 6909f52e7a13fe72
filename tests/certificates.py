"""Certificates for tests, made with openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


def make_authority(folder: Path, name: str) -> Pair:
    """A CA that signs itself."""
    made = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}", "-keyout", str(made.key), "-out", str(made.certificate)),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    return made


def sign(authority: Pair, common_name: str, *extensions: str, name: str = "") -> Pair:
    """A certificate of an authority; extensions such as ``subjectAltName=DNS:a.b``."""
    folder, name = authority.certificate.parent, name or common_name
    made = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    request, more = folder / f"{name}.csr", folder / f"{name}.ext"
    more.write_text("\n".join(extensions) + "\n")
    _openssl(
        *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", f"/CN={common_name}", "-keyout", str(made.key), "-out", str(request)),
    )
    _openssl(
        *("x509", "-req", "-in", str(request), "-days", "2", "-extfile", str(more), "-out", str(made.certificate)),
        *("-CA", str(authority.certificate), "-CAkey", str(authority.key), "-CAcreateserial"),
    )
    return made


CLIENT = "extendedKeyUsage=clientAuth"
SERVER = "extendedKeyUsage=serverAuth"


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)
