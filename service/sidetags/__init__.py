"""Side tags as rows of the database: whose turn it is, their life, and what maintainers may ask for."""
