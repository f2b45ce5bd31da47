"""Model families in PyTorch layout: the file's name is the `model_type` of their config.json, with _ for -."""
