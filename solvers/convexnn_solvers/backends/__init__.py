"""One file per solver; each is imported on first use."""
