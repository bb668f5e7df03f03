"""What every command shares: declaration, options, exit codes, signals, tables, child processes."""
