"""Makes source packages of the mirror's stand-in with our own spec of a strategy, and uploads them to the sandbox."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import date
from pathlib import Path

import httpx2
from copr.v3 import Client

from sandbox.mirror.archive import pack
from sandbox.mirror.tree import Contents
from sandbox.testing import Farm
from service.catalog import Catalog
from service.domain.sources import SourceFacts
from service.domain.specs import ChangelogEntry, SpecRequest
from service.domain.versions import parse_tag
from service.specs.render import render_spec
from tests.servers import NO_TLS
from workers.packaging.rpm_commands import build_srpm

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def stand_in_srpm(
    folder: Path,
    catalog: Catalog,
    strategy: str,
    branch: str,
    tag: str = "v1.32.1",
    wazero: str | None = "v1.8.2",
    nri: str = "v0.9.0",
) -> Path:
    """Make a source package below ``folder``. ``wazero``: the vendored version, None where the source vendors none."""
    version = parse_tag(tag)
    archive = pack(
        Contents(
            version=str(version), commit=COMMIT, timestamp=1_700_000_000, go="1.23", wazero=wazero,
            nri=nri, commands=("crio",),
        )
    )  # fmt: skip
    source = folder / archive.filename
    source.write_bytes(archive.content)
    request = SpecRequest(
        family="cri-o", package=f"cri-o{version.stream}", version=version, branch=branch, strategy=strategy,
        facts=SourceFacts("archive", "1.23", wazero or "", nri, COMMIT, archive.etag), release_number=1,
        released_on=date(2026, 1, 1),
        changelog=(ChangelogEntry(date(2026, 1, 1), f"{version}-0.1", "Update"),),
    )  # fmt: skip
    # The shipped catalogue refuses to render what it knows not to link; the sandbox shall show that it does not.
    strategies = {id_: replace(row, without=frozenset()) for id_, row in catalog.strategies.items()}
    spec = render_spec(request, replace(catalog, strategies=strategies))
    target = folder / f"{strategy}-{branch}-{tag}"
    return build_srpm(spec, [source], directory=target, epoch=1_767_225_600).path


def upload(farm: Farm, srpm: Path, chroots: list[str]) -> int:
    """Upload with the real client, and return the build's number."""
    client = Client.create_from_config_file(str(farm.copr_config))
    client.project_proxy.add("packbot", "real", chroots, exist_ok=True)
    return int(client.build_proxy.create_from_file("packbot", "real", str(srpm)).id)


def log_of(result_url: str) -> str:
    answer = httpx2.get(f"{result_url}build.log.gz", trust_env=False, verify=NO_TLS)
    content = answer.content
    return gzip.decompress(content).decode() if content[:2] == b"\x1f\x8b" else answer.text
