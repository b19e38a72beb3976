"""Builds source packages on this machine, and replays the logs of recorded builds."""
