"""What builds change in dist-git, and the pull requests that propose it, as rows of the database."""
