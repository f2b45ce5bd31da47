"""The parts of the report: numbers in words, charts, sections of the page, its style."""
