"""The database: engine, schema, migrations, location."""
