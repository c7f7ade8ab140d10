"""After training: one's own picture, the network in other forms, the page on which one draws."""
