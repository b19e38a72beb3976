"""Workarounds proved with the toolchain of this machine."""
