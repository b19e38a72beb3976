"""The dashboard: pages, their forms and buttons."""
