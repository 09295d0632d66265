"""The two other roles: the provider, who answers, and the eavesdropper, who reads; each in its own process."""
