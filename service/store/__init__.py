"""The database: its tables, transactions, and changes of state. SQLAlchemy and nothing else."""
