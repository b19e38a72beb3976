"""Style, script and pictures, under addresses that hold their content's hash: cached for ever."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "static"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One file as it is served."""

    address: str
    content: bytes
    media_type: str


def _read(folder: Path) -> dict[str, Asset]:
    assets = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in MEDIA_TYPES:
            content = path.read_bytes()
            name = f"{path.stem}.{sha256(content).hexdigest()[:16]}{path.suffix}"
            assets[path.name] = Asset(f"/static/{name}", content, MEDIA_TYPES[path.suffix])
    return assets


_ASSETS = _read(FOLDER)
_BY_ADDRESS = {asset.address: asset for asset in _ASSETS.values()}


def asset_address(name: str) -> str:
    """The address of ``style.css`` and the like. Raises KeyError for what is not there."""
    return _ASSETS[name].address


def asset_at(address: str) -> Asset | None:
    """The file of an address; None for an address with another hash, which is none of ours."""
    return _BY_ADDRESS.get(address)
