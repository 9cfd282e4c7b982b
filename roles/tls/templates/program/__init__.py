"""The collection's own modules about certificates, for use without Ansible."""
