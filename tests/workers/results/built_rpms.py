"""RPMs for tests, made by the real rpmbuild: what a chroot of a build farm would have built."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

HARD = ("-fPIE", "-pie", "-Wl,-z,relro", "-Wl,-z,now")
MAIN = "int main(void) { return 0; }\n"
# An address in the text segment must be relocated when the program is loaded: that is a text relocation.
TEXT_RELOCATION = MAIN + '__asm__(".text\\n.globl here\\nhere: .quad main\\n");\n'


def compile_program(folder: Path, source: str, *flags: str) -> bytes:
    """A real ELF program."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "program.c").write_text(source)
    subprocess.run(
        ["gcc", *flags, "-o", "program", "program.c"], cwd=folder, check=True, capture_output=True, timeout=60
    )
    return (folder / "program").read_bytes()


def make_rpm(
    folder: Path,
    *,
    name: str,
    version: str,
    release: str,
    arch: str = "x86_64",
    preamble: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """One binary RPM below ``folder``; its files are exactly these."""
    folder.mkdir(parents=True, exist_ok=True)
    inside = folder / "payload"
    for path, content in (files or {}).items():
        (inside / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (inside / path.lstrip("/")).write_bytes(content)
    spec = folder / "made.spec"
    lines = [
        f"Name: {name}", f"Version: {version}", f"Release: {release}", "Summary: made for a test",
        "License: MIT", "AutoReqProv: no", *preamble, "%description", "Made for a test.", "%install",
        "mkdir -p %{buildroot}", f"cp -a {inside}/. %{{buildroot}}/" if files else "true", "%files",
        *(f'"{path}"' for path in sorted(files or {})),
    ]  # fmt: skip
    spec.write_text("\n".join(lines) + "\n")
    subprocess.run(
        ["rpmbuild", "-bb", "--target", arch, "--define", f"_topdir {folder}/top",
         "--define", "debug_package %{nil}", "--define", "__os_install_post %{nil}",
         "--define", "_binary_payload w1.gzdio", str(spec)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    (made,) = (folder / "top" / "RPMS").rglob("*.rpm")
    return made
