"""What `prepare` is made of: parts of the text to workers, documents to tokens, and how far it is."""
