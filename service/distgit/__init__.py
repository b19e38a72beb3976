"""Changes of dist-git and their pull requests: intent, conflict, commit, merge, as rows of the database."""
