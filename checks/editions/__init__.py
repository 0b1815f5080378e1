"""The student and the instructor edition, and their proof."""
