"""The pure core: versions, branches, states, planning, reports. Standard library only."""
