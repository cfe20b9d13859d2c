"""What pages and plots share: HTML, numbers in words, the style of plots."""
