"""Read facts from ELF files: hardening flags, undefined Go symbols, and the build info that Go recorded."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from pathlib import Path

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile

from service.domain.binaries import BinaryFacts, GoBuild

# dynamic tags' bits, from the ELF specification and GNU's additions to it.
DF_TEXTREL, DF_BIND_NOW = 0x4, 0x8
DF_1_NOW, DF_1_PIE = 0x1, 0x08000000
PF_X, PF_W = 0x1, 0x2

# Go's header (src/debug/buildinfo): magic, pointer size, flags; from byte 32 on two texts with their lengths.
_GO_MAGIC = b"\xff Go buildinf:"
_GO_FLAGS, _GO_TEXTS = 15, 32
_GO_INLINE = 0x2
_GO_SENTINEL = 16
# Above any real module list (crio's is 30 kB), below what a hostile file could make us hold.
_GO_LIMIT = 4 * 1024 * 1024
_SYMBOLS_LIMIT = 256 * 1024 * 1024


class BinaryUnreadable(ValueError):
    """The file is not ELF, or broken; ``str(error)`` is one line that names the file."""


def is_elf(path: Path) -> bool:
    """Return whether the file begins as ELF does. Raises OSError."""
    with path.open("rb") as handle:
        return handle.read(4) == b"\x7fELF"


def read_binary(path: Path) -> BinaryFacts:
    """Read the facts of one executable or shared object, of any architecture and byte order; nothing is run.

    Stripping does not hide any of them. About 50 ms for a CRI-O of 80 MB, of which only the headers, the
    dynamic symbols and Go's record are read. Raises BinaryUnreadable, and OSError where the file is not there.
    """
    with path.open("rb") as handle:
        try:
            return _facts(ELFFile(handle))
        except Exception as error:
            # The library's parsers meet hostile bytes with many kinds of exceptions; an address that no file
            # has is one of them, any other error of the system is our own trouble.
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            reason = str(error).split("\n", 1)[0][:120] or type(error).__name__
            raise BinaryUnreadable(f"{path.name} is not a readable ELF file: {reason}") from error


def _facts(elf: ELFFile) -> BinaryFacts:
    segments = list(elf.iter_segments())
    kinds = {segment["p_type"] for segment in segments}
    tags: dict[str, int] = {}
    for segment in segments:
        if isinstance(segment, DynamicSegment):
            tags = {str(tag.entry.d_tag): int(tag.entry.d_val) for tag in segment.iter_tags()}
    flags, flags_1 = tags.get("DT_FLAGS", 0), tags.get("DT_FLAGS_1", 0)
    stack = next((segment for segment in segments if segment["p_type"] == "PT_GNU_STACK"), None)
    both = PF_X | PF_W
    executable = elf["e_type"] == "ET_EXEC" or "PT_INTERP" in kinds or bool(flags_1 & DF_1_PIE)
    return BinaryFacts(
        machine=str(elf["e_machine"]).removeprefix("EM_").lower(),
        executable=executable,
        dynamic=bool(tags),
        pie=executable and elf["e_type"] == "ET_DYN" and bool(flags_1 & DF_1_PIE),
        relro="PT_GNU_RELRO" in kinds,
        bind_now=bool(flags & DF_BIND_NOW or flags_1 & DF_1_NOW or "DT_BIND_NOW" in tags),
        nx=stack is not None and not stack["p_flags"] & PF_X,
        textrel="DT_TEXTREL" in tags or bool(flags & DF_TEXTREL),
        writable_code=any(s["p_type"] == "PT_LOAD" and s["p_flags"] & both == both for s in segments),
        undefined_go=tuple(name for name in _undefined(elf) if "/" in name),
        go=_go_build(elf),
    )


def _undefined(elf: ELFFile) -> Iterator[str]:
    """Yield the undefined names of ``.dynsym``: Go exports so many that the library's own loop takes seconds."""
    section = elf.get_section_by_name(".dynsym")
    if section is None:
        return
    names = elf.get_section(section["sh_link"])
    if max(section["sh_size"], names["sh_size"]) > _SYMBOLS_LIMIT:
        raise ValueError("its table of dynamic symbols is too large")
    order = "<" if elf.little_endian else ">"
    layout = struct.Struct(order + ("IBBHQQ" if elf.elfclass == 64 else "IIIBBH"))
    shndx = 3 if elf.elfclass == 64 else 5
    texts = names.data()
    data = section.data()
    for symbol in layout.iter_unpack(data[: len(data) // layout.size * layout.size]):
        if symbol[shndx] == 0 and symbol[0]:
            end = texts.find(b"\0", symbol[0])
            yield texts[symbol[0] : end].decode(errors="replace")


def _go_build(elf: ELFFile) -> GoBuild | None:
    section = elf.get_section_by_name(".go.buildinfo")
    if section is None:
        return None
    if section["sh_size"] > _GO_LIMIT:
        raise ValueError("its .go.buildinfo is too large")
    data = section.data()
    start = data.find(_GO_MAGIC)
    if start < 0 or not data[start + _GO_FLAGS] & _GO_INLINE:
        # Before Go 1.18 only addresses stood here; no branch has a Go that old.
        raise ValueError("its .go.buildinfo has an unknown form")
    version, rest = _text(data, start + _GO_TEXTS)
    modules, _ = _text(data, rest)
    # The list stands between two marks of 16 bytes, by which Go finds it in a running program.
    listed = modules[_GO_SENTINEL:-_GO_SENTINEL].decode(errors="replace") if modules else ""
    return _parse_go(version.decode(errors="replace"), listed)


def _text(data: bytes, start: int) -> tuple[bytes, int]:
    """Return a text that follows its length as a varint, and the position behind it."""
    length = shift = 0
    while True:
        byte = data[start]
        start += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if length > len(data) - start:
        raise ValueError("its .go.buildinfo ends too early")
    return data[start : start + length], start + length


def _parse_go(version: str, listed: str) -> GoBuild:
    main, modules, settings = "", 0, {}
    for line in listed.splitlines():
        kind, _, rest = line.partition("\t")
        if kind == "mod":
            main = rest.partition("\t")[0]
        elif kind == "dep":
            modules += 1
        elif kind == "build":
            name, _, value = rest.partition("=")
            settings[name.strip('"')] = value.strip('"')
    pairs = (pair.partition("=") for pair in settings.get("DefaultGODEBUG", "").split(",") if pair)
    # An experimental toolchain adds its experiments after a blank.
    return GoBuild(
        version=version.split(" ", 1)[0],
        main_module=main,
        modules=modules,
        godebug={name: value for name, _, value in pairs},
        settings=settings,
    )
