"""The Go files of the stand-in source: few words of our own, and the one construction that CRI-O's trouble is made of.

Vendored wazero binds assembly by go:linkname to a name that is written out in full. In GOPATH mode a vendored
package has another name, and the symbol is undefined (cri-o/cri-o#8860); in module mode the names agree.
"""

from __future__ import annotations

from sandbox.mirror.contents import Contents

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


def files(what: Contents, says: str) -> dict[str, str]:
    """The Go files by path below the root. ``says`` is the remark that each of them carries."""
    tree = {
        "go.mod": _go_mod(what, says),
        "go.sum": "",
        "vendor/modules.txt": _modules(what),
        "internal/version/version.go": _version(what.said_version or what.version, says),
        "internal/version/version_test.go": _version_test(says),
    }
    tree |= {f"cmd/{command}/main.go": _main(command, says) for command in what.commands}
    tree |= {f"vendor/{NRI}/{name}": text for name, text in _nri(what, says).items()}
    if what.wazero:
        tree |= {f"vendor/{WAZERO}/{name}": text for name, text in _wazero(says).items()}
    return tree


def _go_mod(what: Contents, says: str) -> str:
    requires = [f"\t{NRI} {what.nri}"]
    if what.wazero:
        requires.append(f"\t{WAZERO} {what.wazero} // indirect")
    return f"module {MODULE}\n\n// {says}\n\ngo {what.go}\n\nrequire (\n" + "\n".join(requires) + "\n)\n"


def _modules(what: Contents) -> str:
    text = f"# {NRI} {what.nri}\n## explicit; go {what.go}\n{NRI}\n"
    if what.wazero:
        packages = [WAZERO, ENGINE, *(f"{ISA}/{arch}" for arch in ASSEMBLY)]
        text += f"# {WAZERO} {what.wazero}\n## explicit; go {what.go}\n" + "\n".join(packages) + "\n"
    return text


def _version(version: str, says: str) -> str:
    return (
        f"// {says}\npackage version\n\n// Version is the version of the build.\n"
        f'const Version = "{version}"\n\nvar (\n\tbuildCommit string\n\tbuildDate string\n)\n\n'
        "// Built tells when and from what.\n"
        "func Built() (string, string) { return buildCommit, buildDate }\n"
    )


def _version_test(says: str) -> str:
    return (
        f'// {says}\npackage version\n\nimport "testing"\n\nfunc TestVersion(t *testing.T) {{\n'
        '\tif Version == "" {\n\t\tt.Fatal("no version")\n\t}\n}\n'
    )


def _main(command: str, says: str) -> str:
    return f"""// {says}
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


def _nri(what: Contents, says: str) -> dict[str, str]:
    plain = (
        f"// {says}\n{{tag}}package nri\n\n// Call answers without a plugin.\n"
        "func Call(n int64) int64 {{ return n + 1 }}\n"
    )
    if not what.wazero:
        return {"nri.go": plain.format(tag="")}
    with_plugins = (
        f'// {says}\n\n//go:build !nri_no_wasm\n\npackage nri\n\nimport "{WAZERO}"\n\n'
        "// Call asks the plugin.\nfunc Call(n int64) int64 { return wazero.Call(n) }\n"
    )
    # A name that ends in _wasm.go would be compiled for that architecture only.
    return {"wasm.go": with_plugins, "plain.go": plain.format(tag="\n//go:build nri_no_wasm\n\n")}


def _wazero(says: str) -> dict[str, str]:
    below = ENGINE.removeprefix(f"{WAZERO}/")
    tree = {
        "runtime.go": (
            f'// {says}\npackage wazero\n\nimport "{ENGINE}"\n\n'
            "// Call runs the plugin's entry point.\nfunc Call(n int64) int64 { return wazevo.Call(n) }\n"
        ),
        f"{below}/call_engine.go": (
            f"// {says}\npackage wazevo\n\n// Call enters the compiled code.\n"
            "func Call(n int64) int64 { return entrypoint(n) }\n"
        ),
        f"{below}/entrypoint_others.go": (
            f"// {says}\n\n//go:build !amd64 && !arm64\n\npackage wazevo\n\n"
            "func entrypoint(n int64) int64 { return n + 1 }\n"
        ),
    }
    for arch, assembly in ASSEMBLY.items():
        tree |= {
            f"{below}/entrypoint_{arch}.go": (
                f"// {says}\n\n//go:build {arch}\n\npackage wazevo\n\n"
                f'import (\n\t_ "unsafe"\n\n\t_ "{ISA}/{arch}"\n)\n\n'
                f"//go:linkname entrypoint {ISA}/{arch}.entrypoint\nfunc entrypoint(n int64) int64\n"
            ),
            f"{below}/backend/isa/{arch}/abi_entry_{arch}.go": (
                f"// {says}\npackage {arch}\n\nfunc entrypoint(n int64) int64\n\nvar _ = entrypoint\n"
            ),
            f"{below}/backend/isa/{arch}/abi_entry_{arch}.s": f"// {says}\n{assembly}",
        }
    return tree
