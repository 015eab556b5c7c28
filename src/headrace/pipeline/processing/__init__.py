"""Processing: contacts, the catalog and the fan-out."""
