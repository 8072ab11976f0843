"""Groups of customers, declared in config/segments/ and kept with their history."""
