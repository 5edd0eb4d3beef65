"""Chat templates: problem → tokens, what a template does against the format, and its repair."""
