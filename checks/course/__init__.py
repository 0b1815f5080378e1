"""What is kept of a course beside its grades: who is in it, every attempt, and what was decided by hand."""
