"""From a webhook or a list to planned builds: intake, planning, withdrawals, reconciliation."""
