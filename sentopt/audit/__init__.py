"""What a user should know of a labelled dataset before training: labels in doubt, near-duplicates, leaks, lengths."""
