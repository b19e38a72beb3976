"""service remembers and shows: domain, catalogue, spec text, database, web."""
