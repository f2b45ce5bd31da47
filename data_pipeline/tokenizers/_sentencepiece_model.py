"""The file format of SentencePiece models: as much of its `sentencepiece_model.proto` as is read here.

The library brings this schema as code that needs the newest protobuf, which not everything that is
installed beside it takes; a schema that is built at run time works with any.
"""

import functools
from typing import Any

_UNIGRAM = 1


@functools.cache
def _model() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    Field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="bert_jax_sentencepiece.proto", package="bert_jax", syntax="proto2")

    def add(
        message: Any, name: str, number: int, kind: int, default: str = "", of: str = "", many: bool = False
    ) -> None:
        label = Field.LABEL_REPEATED if many else Field.LABEL_OPTIONAL
        field = message.field.add(name=name, number=number, type=kind, label=label)
        if default:
            field.default_value = default
        if of:
            field.type_name = f".bert_jax.Model{of}"

    model = file.message_type.add(name="Model")
    piece = model.nested_type.add(name="Piece")
    kinds = piece.enum_type.add(name="Type")
    for number, name in enumerate(("NORMAL", "UNKNOWN", "CONTROL", "USER_DEFINED", "UNUSED", "BYTE"), start=1):
        kinds.value.add(name=name, number=number)
    add(piece, "piece", 1, Field.TYPE_STRING)
    add(piece, "score", 2, Field.TYPE_FLOAT)
    add(piece, "type", 3, Field.TYPE_ENUM, "NORMAL", of=".Piece.Type")
    trainer = model.nested_type.add(name="Trainer")
    add(trainer, "model_type", 3, Field.TYPE_INT32, str(_UNIGRAM))
    add(trainer, "treat_whitespace_as_suffix", 24, Field.TYPE_BOOL, "false")
    normalizer = model.nested_type.add(name="Normalizer")
    add(normalizer, "precompiled_charsmap", 2, Field.TYPE_BYTES)
    for number, name in enumerate(("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"), start=3):
        add(normalizer, name, number, Field.TYPE_BOOL, "true")
    add(model, "pieces", 1, Field.TYPE_MESSAGE, of=".Piece", many=True)
    add(model, "trainer_spec", 2, Field.TYPE_MESSAGE, of=".Trainer")
    add(model, "normalizer_spec", 3, Field.TYPE_MESSAGE, of=".Normalizer")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bert_jax.Model"))


def parse(data: bytes) -> Any:
    """The model: `pieces` with piece, score and type; `trainer_spec` and `normalizer_spec`.

    Raises:
      google.protobuf.message.DecodeError: it is none.
    """
    return _model().FromString(data)
