"""The files of a stand-in source tree: CRI-O's shape, our own few words."""

from __future__ import annotations

from sandbox.mirror import go as mirror_go
from sandbox.mirror.contents import Contents

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


def files(what: Contents) -> dict[str, str]:
    """Every file's path below the root, and its text."""
    tree = {
        **mirror_go.files(what, SAYS),
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
