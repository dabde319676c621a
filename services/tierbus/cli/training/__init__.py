"""What `tierbus train` says: its words on the terminal."""
