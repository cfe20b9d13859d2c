"""What each command and its function do alike, between their options and how they tell it."""
