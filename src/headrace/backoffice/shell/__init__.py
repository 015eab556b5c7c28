"""What every page uses: requests, forms, cookies, templates, charts."""
