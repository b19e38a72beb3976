"""Dist-git on disk: one bare repository a package, and a maintainer who edits it with real git."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

NAMESPACE = "rpms"
MAINTAINER = {
    "GIT_AUTHOR_NAME": "Sandbox Maintainer", "GIT_AUTHOR_EMAIL": "maintainer@sandbox.invalid",
    "GIT_COMMITTER_NAME": "Sandbox Maintainer", "GIT_COMMITTER_EMAIL": "maintainer@sandbox.invalid",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
}  # fmt: skip
Edit = Callable[[str], str]


class DistGit:
    """The repositories below one folder; ``grant`` makes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def pattern(self) -> str:
        """Return the address of a package's repository, with ``{package}`` in it."""
        return f"file://{self._folder}/{NAMESPACE}/{{package}}.git"

    def path(self, package: str) -> Path:
        """Return where the bare repository of a package is, or would be."""
        return self._folder / NAMESPACE / f"{package}.git"

    def grant(self, package: str, *branches: str) -> None:
        """Make a repository with an empty first commit on each of the branches, or further branches of it."""
        path = self.path(package)
        if not path.exists():
            path.mkdir(parents=True)
            run_git("init", "--quiet", "--bare", "--initial-branch=rawhide", str(path))
        tree = run_git("-C", str(path), "hash-object", "-t", "tree", "-w", "/dev/null")
        first = run_git("-C", str(path), "commit-tree", tree, "-m", "Added the README")
        for branch in branches:
            run_git("-C", str(path), "update-ref", f"refs/heads/{branch}", first)

    def fork_path(self, user: str, package: str) -> Path:
        """Return where a user's fork is, once the forge has made it."""
        return self._folder / "forks" / user / NAMESPACE / f"{package}.git"

    def edit(
        self,
        package: str,
        branch: str,
        message: str,
        edits: Mapping[str, str | Edit | None],
        *,
        user: str = "",
    ) -> str:
        """Change files and push: to a text, a function of the present text, or None to remove; return the commit.

        ``user`` names whose fork is edited, instead of the package's own repository.
        """
        path = self.fork_path(user, package) if user else self.path(package)
        with tempfile.TemporaryDirectory(prefix="sandbox-maintainer-") as home:
            run_git("clone", "--quiet", "--branch", branch, str(path), home)
            for name, edit in edits.items():
                file = Path(home) / name
                if edit is None:
                    file.unlink()
                else:
                    file.write_text(edit(file.read_text()) if callable(edit) else edit)
            run_git("-C", home, "add", "--all")
            run_git("-C", home, "commit", "--quiet", "-m", message)
            run_git("-C", home, "push", "--quiet", "origin", branch)
            return run_git("-C", home, "rev-parse", "HEAD")

    def read(self, package: str, branch: str, name: str) -> str:
        """Return a file as a branch has it."""
        return run_git("-C", str(self.path(package)), "show", f"{branch}:{name}", strip=False)

    def log(self, package: str, branch: str) -> list[str]:
        """Return the subjects of a branch's commits, newest first."""
        return run_git("-C", str(self.path(package)), "log", "--format=%s", branch).splitlines()

    def head(self, package: str, branch: str) -> str:
        """Return the newest commit of a branch."""
        return run_git("-C", str(self.path(package)), "rev-parse", branch)

    def message(self, package: str, commit: str) -> str:
        """Return a commit's whole message with its author."""
        return run_git("-C", str(self.path(package)), "log", "-1", "--format=%an <%ae>%n%B", commit)


def run_git(*arguments: str, strip: bool = True, given: str = "") -> str:
    """Run git as the maintainer, and return what it prints. Raises RuntimeError with its complaint."""
    done = subprocess.run(
        ["git", *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **MAINTAINER},
    )
    if done.returncode:
        raise RuntimeError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip() if strip else done.stdout
