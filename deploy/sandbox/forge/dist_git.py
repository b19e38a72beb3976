"""Dist-git of the sandbox: one bare repository a package on disk, and a maintainer who edits it with real git."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

MAINTAINER = {
    "GIT_AUTHOR_NAME": "Sandbox Maintainer", "GIT_AUTHOR_EMAIL": "maintainer@sandbox.invalid",
    "GIT_COMMITTER_NAME": "Sandbox Maintainer", "GIT_COMMITTER_EMAIL": "maintainer@sandbox.invalid",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
}  # fmt: skip
Edit = Callable[[str], str]


class DistGit:
    """The repositories below one folder; each is made when somebody grants it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def pattern(self) -> str:
        """The address of a package's repository, with ``{package}`` in it."""
        return f"file://{self._folder}/rpms/{{package}}.git"

    def path(self, package: str) -> Path:
        """Where the bare repository of a package is, or would be."""
        return self._folder / "rpms" / f"{package}.git"

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
        """Where a user's fork is, once the forge has made it."""
        return self._folder / "forks" / user / "rpms" / f"{package}.git"

    def edit(
        self,
        package: str,
        branch: str,
        message: str,
        edits: Mapping[str, str | Edit | None],
        *,
        user: str = "",
    ) -> str:
        """Change files by hand and push: a text, a function of the present text, or None to remove; the commit.

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
        """A file as a branch has it."""
        return run_git("-C", str(self.path(package)), "show", f"{branch}:{name}", strip=False)

    def log(self, package: str, branch: str) -> list[str]:
        """The subjects of a branch's commits, newest first."""
        return run_git("-C", str(self.path(package)), "log", "--format=%s", branch).splitlines()

    def head(self, package: str, branch: str) -> str:
        """The newest commit of a branch."""
        return run_git("-C", str(self.path(package)), "rev-parse", branch)

    def message(self, package: str, commit: str) -> str:
        """A commit's whole message with its author."""
        return run_git("-C", str(self.path(package)), "log", "-1", "--format=%an <%ae>%n%B", commit)


def run_git(*arguments: str, strip: bool = True, given: str = "") -> str:
    """Run git as the maintainer; what it prints. Raises RuntimeError with its complaint."""
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
