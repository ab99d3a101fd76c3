"""What `kensa doctor` looks at."""
