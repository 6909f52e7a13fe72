"""Stand-ins for what this project does not own."""
