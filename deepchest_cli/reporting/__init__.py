"""What pages and plots share: HTML templates, the formatting of numbers, the style of plots."""
