"""Results of ended builds: stored logs, diagnoses of failures, remedies, and checks of the built RPMs."""
