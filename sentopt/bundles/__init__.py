"""What can be done with a finished bundle: check, pack, push to the hub, describe, and score tables with it."""
