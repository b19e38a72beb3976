"""Changes of dist-git and their pull requests, as rows of the database."""
