"""A stand-in for dist-git: a forge with the APIs of Pagure and Forgejo, git over HTTP, the lookaside cache."""
