"""What a configuration costs and what a store holds: FLOPs, compiled programs, inspection."""
