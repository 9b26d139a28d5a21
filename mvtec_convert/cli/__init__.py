"""The command line: one file a command, its flags and the call behind them. Everything heavy is imported inside."""
