"""What measures, and the tables made of it."""
