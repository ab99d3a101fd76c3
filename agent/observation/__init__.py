"""What is seen of parts after their verdict: counts, drift, pictures."""
