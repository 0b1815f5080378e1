"""A page on which people read the answers that no check can judge."""
