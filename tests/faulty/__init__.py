"""Small servers with one fault each, and correct ones: they prove that the checks of checks/ can grade."""
