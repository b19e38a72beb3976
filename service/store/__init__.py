"""The database: schema, sessions, legal transitions. SQLAlchemy and nothing else."""
