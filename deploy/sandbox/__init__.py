"""A small build farm for machines without accounts: COPR's API v3 and an upstream mirror, on loopback only.

Nothing is compiled here. Every log, page and archive that the farm makes says so on its face.
"""
