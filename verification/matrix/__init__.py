"""Every model of a folder on every device, from every format: what is found, how one runs, and the pages of it."""
