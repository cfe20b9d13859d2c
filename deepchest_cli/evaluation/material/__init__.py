"""What an evaluation is made of: from checkpoints and shards, or from files."""
