"""The rules, as pure functions and frozen types: versions, states, planning, dist-git. Standard library only."""
