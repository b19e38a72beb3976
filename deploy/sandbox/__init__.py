"""A small build farm for machines without accounts: COPR's API v3 and an upstream mirror, on loopback only.

Nothing is compiled unless it is asked for. Every log says on its face whether it was built, replayed or simulated.
"""
