"""Access to the service: API tokens, sessions of the dashboard, and the audit trail."""
