"""Charts and pictures for pages: pure functions of numbers."""
