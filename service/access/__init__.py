"""Who may ask for what: tokens, sign-ins of the dashboard, and the audit trail."""
