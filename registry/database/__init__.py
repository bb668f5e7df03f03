"""The database: engine, schema, migrations, and where it is."""
