"""The stages of a run. Each is `run(...) -> Record`, writes only its own files, and knows no other stage."""
