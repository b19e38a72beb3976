"""Writes the files of the stand-in source tree: CRI-O's folders, our own few words, and its linker trouble with wazero.

Vendored wazero binds assembly by go:linkname to a name that is written out in full. In GOPATH mode a vendored
package has another name, and the symbol is undefined (cri-o/cri-o#8860); in module mode the names agree.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contents:
    """What decides an archive's bytes. ``said_version`` differs from ``version`` only in a broken one."""

    version: str
    commit: str
    timestamp: int
    go: str
    wazero: str | None
    nri: str
    commands: tuple[str, ...]
    moved: int = 0
    said_version: str = ""
    traversal: bool = False


SAYS = "Stand-in made by cryopack's sandbox; this is not CRI-O's code."
EXECUTABLE = (".sh", "/get")
HACK = (
    "apparmor_tag",
    "btrfs_installed_tag",
    "btrfs_tag",
    "libsubid_tag",
    "openpgp_tag",
    "seccomp_tag",
    "selinux_tag",
)
NOTES = (
    "README",
    "SECURITY",
    "ADOPTERS",
    "GOVERNANCE",
    "MAINTAINERS",
    "awesome",
    "code-of-conduct",
    "cri",
    "transfer",
    "tutorial",
)
MODULE = "github.com/cri-o/cri-o"
NRI = "github.com/containerd/nri"
WAZERO = "github.com/tetratelabs/wazero"
ENGINE = f"{WAZERO}/internal/engine/wazevo"
ISA = f"{ENGINE}/backend/isa"
ASSEMBLY = {
    "amd64": """#include "textflag.h"

TEXT ·entrypoint(SB), NOSPLIT|NOFRAME, $0-16
	MOVQ n+0(FP), AX
	INCQ AX
	MOVQ AX, ret+8(FP)
	RET
""",
    "arm64": """#include "textflag.h"

TEXT ·entrypoint(SB), NOSPLIT|NOFRAME, $0-16
	MOVD n+0(FP), R0
	ADD $1, R0
	MOVD R0, ret+8(FP)
	RET
""",
}
"""One more than it is given: a call that returns 42 for 41 shows that the assembly is really linked."""


def files(what: Contents) -> dict[str, str]:
    """Return every file's path below the root, and its text."""
    tree = {
        **_go_files(what),
        "Makefile": _makefile(what),
        "LICENSE": _license(),
        "contrib/systemd/crio.service": _unit("crio", "simple"),
        "contrib/systemd/crio-wipe.service": _unit("crio-wipe", "oneshot"),
        "contrib/cni/10-crio-bridge.conflist": _cni("crio", "bridge"),
        "contrib/cni/11-crio-ipv4-bridge.conflist": _cni("crio-ipv4", "bridge"),
        "contrib/cni/99-loopback.conflist": _cni("loopback", "loopback"),
        "crictl.yaml": f'# {SAYS}\nruntime-endpoint: "unix:///var/run/crio/crio.sock"\n',
        "crio-umount.conf": f"# {SAYS}\n/var/run/containers/*\n",
        "pinns/Makefile": f"# {SAYS}\nall:\n\t$(CC) $(CFLAGS) $(LDFLAGS) -o ../bin/pinns src/pinns.c\n",
        "pinns/src/pinns.c": _pinns_c(),
        "completions/bash/crio": f"# {SAYS}\ncomplete -W 'config version wipe' crio\n",
        "completions/fish/crio.fish": f"# {SAYS}\ncomplete -c crio -f -a 'config version wipe'\n",
        "completions/zsh/_crio": f"#compdef crio\n# {SAYS}\n_arguments '1: :(config version wipe)'\n",
    }
    tree |= {f"{note}.md": f"# {note}\n\n{SAYS}\n" for note in NOTES}
    tree |= {f"hack/{name}.sh": f"#!/usr/bin/env bash\n# {SAYS}\n" for name in HACK}
    for page, section in (("crio", 8), ("crio.conf", 5), ("crio.conf.d", 5)):
        tree[f"docs/{page}.{section}.md"] = f"% {page}({section})\n\n# NAME\n\n{page} - {SAYS}\n"
    if what.moved:
        tree["MOVED.md"] = f"# Moved\n\nThis tag was moved {what.moved} time(s).\n\n{SAYS}\n"
    return tree


def _pinns_c() -> str:
    return (
        f'/* {SAYS} */\n#include <stdio.h>\nint main(void)\n{{\n  puts("stand-in pinns");\n  return 0;\n}}\n'
    )


def _makefile(what: Contents) -> str:
    builds = "".join(f"\tgo build -o bin/{command} ./cmd/{command}\n" for command in what.commands)
    return (
        f"# {SAYS}\nall: binaries\n\nbinaries: bin/pinns\n{builds}\n"
        "bin/pinns:\n\tmkdir -p bin\n\t$(MAKE) -C pinns\n\n"
        "install: install.bin install.man install.config install.completions install.systemd\n"
        "install.bin install.man install.config install.completions install.systemd:\n\t@echo stand-in $@\n"
    )


def _license() -> str:
    return f"{SAYS}\n\nIts text was written for cryopack and is under Apache-2.0, like cryopack itself.\n"


def _unit(name: str, kind: str) -> str:
    return (
        f"# {SAYS}\n[Unit]\nDescription=Stand-in {name}\n\n"
        f"[Service]\nType={kind}\nExecStart=/usr/local/bin/{name}\n\n[Install]\nWantedBy=multi-user.target\n"
    )


def _cni(name: str, kind: str) -> str:
    return (
        f'{{\n  "cniVersion": "1.0.0",\n  "_comment": "{SAYS}",\n'
        f'  "name": "{name}",\n  "plugins": [{{"type": "{kind}"}}]\n}}\n'
    )


def _go_files(what: Contents) -> dict[str, str]:
    """Return the Go files by path below the root."""
    tree = {
        "go.mod": _go_mod(what),
        "go.sum": "",
        "vendor/modules.txt": _modules(what),
        "internal/version/version.go": _version(what.said_version or what.version),
        "internal/version/version_test.go": _version_test(),
    }
    tree |= {f"cmd/{command}/main.go": _main(command) for command in what.commands}
    tree |= {f"vendor/{NRI}/{name}": text for name, text in _nri(what).items()}
    if what.wazero:
        tree |= {f"vendor/{WAZERO}/{name}": text for name, text in _wazero().items()}
    return tree


def _go_mod(what: Contents) -> str:
    requires = [f"\t{NRI} {what.nri}"]
    if what.wazero:
        requires.append(f"\t{WAZERO} {what.wazero} // indirect")
    return f"module {MODULE}\n\n// {SAYS}\n\ngo {what.go}\n\nrequire (\n" + "\n".join(requires) + "\n)\n"


def _modules(what: Contents) -> str:
    text = f"# {NRI} {what.nri}\n## explicit; go {what.go}\n{NRI}\n"
    if what.wazero:
        packages = [WAZERO, ENGINE, *(f"{ISA}/{arch}" for arch in ASSEMBLY)]
        text += f"# {WAZERO} {what.wazero}\n## explicit; go {what.go}\n" + "\n".join(packages) + "\n"
    return text


def _version(version: str) -> str:
    return (
        f"// {SAYS}\npackage version\n\n// Version is the version of the build.\n"
        f'const Version = "{version}"\n\nvar (\n\tbuildCommit string\n\tbuildDate string\n)\n\n'
        "// Built tells when and from what.\n"
        "func Built() (string, string) { return buildCommit, buildDate }\n"
    )


def _version_test() -> str:
    return (
        f'// {SAYS}\npackage version\n\nimport "testing"\n\nfunc TestVersion(t *testing.T) {{\n'
        '\tif Version == "" {\n\t\tt.Fatal("no version")\n\t}\n}\n'
    )


def _main(command: str) -> str:
    return f"""// {SAYS}
package main

import (
	"fmt"
	"os"

	"{NRI}"
	"{MODULE}/internal/version"
)

func main() {{
	for _, word := range os.Args[1:] {{
		switch word {{
		case "config", "complete":
			fmt.Println("# stand-in {command}", word)
			return
		case "call":
			fmt.Println("the plugin answers", nri.Call(41))
			return
		}}
	}}
	commit, date := version.Built()
	fmt.Println("stand-in {command}", version.Version, commit, date)
}}
"""


def _nri(what: Contents) -> dict[str, str]:
    plain = (
        f"// {SAYS}\n{{tag}}package nri\n\n// Call answers without a plugin.\n"
        "func Call(n int64) int64 {{ return n + 1 }}\n"
    )
    if not what.wazero:
        return {"nri.go": plain.format(tag="")}
    with_plugins = (
        f'// {SAYS}\n\n//go:build !nri_no_wasm\n\npackage nri\n\nimport "{WAZERO}"\n\n'
        "// Call asks the plugin.\nfunc Call(n int64) int64 { return wazero.Call(n) }\n"
    )
    # A name that ends in _wasm.go would be compiled for that architecture only.
    return {"wasm.go": with_plugins, "plain.go": plain.format(tag="\n//go:build nri_no_wasm\n\n")}


def _wazero() -> dict[str, str]:
    below = ENGINE.removeprefix(f"{WAZERO}/")
    tree = {
        "runtime.go": (
            f'// {SAYS}\npackage wazero\n\nimport "{ENGINE}"\n\n'
            "// Call runs the plugin's entry point.\nfunc Call(n int64) int64 { return wazevo.Call(n) }\n"
        ),
        f"{below}/call_engine.go": (
            f"// {SAYS}\npackage wazevo\n\n// Call enters the compiled code.\n"
            "func Call(n int64) int64 { return entrypoint(n) }\n"
        ),
        f"{below}/entrypoint_others.go": (
            f"// {SAYS}\n\n//go:build !amd64 && !arm64\n\npackage wazevo\n\n"
            "func entrypoint(n int64) int64 { return n + 1 }\n"
        ),
    }
    for arch, assembly in ASSEMBLY.items():
        tree |= {
            f"{below}/entrypoint_{arch}.go": (
                f"// {SAYS}\n\n//go:build {arch}\n\npackage wazevo\n\n"
                f'import (\n\t_ "unsafe"\n\n\t_ "{ISA}/{arch}"\n)\n\n'
                f"//go:linkname entrypoint {ISA}/{arch}.entrypoint\nfunc entrypoint(n int64) int64\n"
            ),
            f"{below}/backend/isa/{arch}/abi_entry_{arch}.go": (
                f"// {SAYS}\npackage {arch}\n\nfunc entrypoint(n int64) int64\n\nvar _ = entrypoint\n"
            ),
            f"{below}/backend/isa/{arch}/abi_entry_{arch}.s": f"// {SAYS}\n{assembly}",
        }
    return tree
