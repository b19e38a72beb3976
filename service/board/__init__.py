"""What people and programs look at: SQL to frozen rows, in as few statements as possible. Reads only."""
