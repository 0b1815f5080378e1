"""One result model, and its readers: terminal, HTML, Markdown, JUnit, Gradescope."""
