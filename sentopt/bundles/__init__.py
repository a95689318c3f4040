"""A finished bundle: checked on this machine, packed as one file, pushed to the hub, described, used on tables."""
