# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the proofs of a tarball's origin next to it: a list of its parts (SBOM), checksums, and a signature.

    python tests/tools/provenance.py .build/dist/compute_index-supply-1.0.0.tar.gz

The signature is by the key that SUPPLY_RELEASE_KEY names (any name that gpg accepts); without it there is none, and the
last line says so. SECURITY.md has the commands that verify all three.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

# What the collection needs at run time, with licence; the versions are the user's. psycopg only with a shared registry.
NEEDS = {"ansible-core": "GPL-3.0-or-later", "requests": "Apache-2.0"}
MAY_NEED = {"psycopg": "LGPL-3.0-only"}


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read_manifest(tarball: Path) -> dict[str, Any]:
    """Return what ansible-galaxy wrote about the collection into its tarball."""
    with tarfile.open(tarball) as archive:
        file = archive.extractfile("MANIFEST.json")
        assert file is not None
        manifest: dict[str, Any] = json.load(file)["collection_info"]
    return manifest


def write_sbom(tarball: Path) -> Path:
    """Write a CycloneDX list of the tarball and of what it needs, and return its path."""
    about = read_manifest(tarball)
    name = f"{about['namespace']}.{about['name']}"
    collection = Component(
        name=name,
        version=about["version"],
        type=ComponentType.LIBRARY,
        description=about["description"],
        licenses=[DisjunctiveLicense(id=license) for license in about["license"]],
        purl=PackageURL("generic", about["namespace"], about["name"], about["version"]),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256(tarball))],
        external_references=[ExternalReference(type=ExternalReferenceType.VCS, url=XsUri(about["repository"]))],
    )
    packages = [
        Component(
            name=package,
            type=ComponentType.LIBRARY,
            licenses=[DisjunctiveLicense(id=license)],
            purl=PackageURL("pypi", name=package),
            description="" if package in NEEDS else "only with a shared registry",
        )
        for package, license in {**NEEDS, **MAY_NEED}.items()
    ]
    bom = Bom(components=packages)
    bom.metadata.component = collection
    bom.register_dependency(collection, packages)
    file = tarball.with_name(f"{tarball.name}.cdx.json")
    JsonV1Dot6(bom).output_to_file(str(file), allow_overwrite=True, indent=2)
    return file


def write_checksums(*files: Path) -> None:
    """Write the SHA-256 of files in one folder into SHA256SUMS there, as sha256sum does."""
    lines = [f"{sha256(file)}  {file.name}\n" for file in files]
    files[0].with_name("SHA256SUMS").write_text("".join(lines))


def sign(file: Path, key: str) -> None:
    """Write a detached signature of a file, FILE.asc."""
    words = ["gpg", "--batch", "--yes", "--armor", "--local-user", key, "--detach-sign", str(file)]
    subprocess.run(words, check=True)


def main() -> None:
    """Do all of it for the tarball that the command line names."""
    tarball = Path(sys.argv[1])
    write_checksums(tarball, write_sbom(tarball))
    if key := os.environ.get("SUPPLY_RELEASE_KEY"):
        sign(tarball, key)
    else:
        print("Not signed: SUPPLY_RELEASE_KEY names no key.")


if __name__ == "__main__":
    main()
