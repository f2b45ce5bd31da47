"""How fresh parameters start, one way a file: `build(*, options) -> function (model, params, key) -> params`.

The function is given the parameters as BERT starts them (truncated normals of `model.init_std`, zero biases) and
changes some of them. It runs inside the compiled, sharded initialisation.
"""
