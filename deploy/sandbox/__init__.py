"""Stand-ins for COPR, Koji, dist-git and upstream, for machines without accounts, on loopback only.

Nothing is compiled unless it is asked for. The first line of every log says what was built, replayed or simulated.
"""
