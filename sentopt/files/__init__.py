"""Files that are whole or not there, and that never replace anything of the user's."""
