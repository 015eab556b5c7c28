"""What commands share: output, settings, the HTTP client."""
