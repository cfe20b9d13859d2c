"""What a comparison of weighters shows: differences, their tests, and the paper's claims."""
