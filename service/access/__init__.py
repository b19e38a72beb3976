"""Access: tokens with their scopes, sign-ins of the dashboard, and the audit trail."""
