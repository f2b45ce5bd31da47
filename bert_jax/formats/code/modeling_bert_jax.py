"""The encoders of bert_jax for the library transformers, including those that it has no class for.

    AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True)

BERT (Devlin et al. 2018) with, each as config.json says: LayerNorm after each part or before it; absolute, rotary or
functional relative positions; attention within a window in some layers; plain or gated units; embeddings of another
width than the layers; weights shared across layers; biases or none.

Every class that a folder names is in this file: whichever is saved again takes along what the others need.
"""

import torch
from torch import nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.models.bert.modeling_bert import BertForPreTrainingOutput
from transformers.models.electra.modeling_electra import ElectraForPreTrainingOutput

from .modeling_bert_jax_layers import BertJaxAttention, BertJaxMlp, dense, layer_norm, relative_table, sinusoids


class BertJaxConfig(PretrainedConfig):
    """BERT's configuration and what is chosen beyond it."""

    model_type = "bert_jax"

    def __init__(
        self,
        vocab_size=30522,
        embedding_size=0,  # of the tables; 0 for hidden_size and no layer between
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_act="gelu",
        gated=False,
        biases=True,
        norm="post",  # or "pre"
        sharing="none",  # or "all", "attention", "mlp": the part whose weights the layers of a group share
        groups=1,
        window=0,  # tokens to each side that a local layer attends to; 0: every layer is global
        global_every=1,  # with window, layers 0, k, 2k, … are global and the rest local; 0: all local
        positions=None,  # {"name": "absolute"}, {"name": "rotary", "base": 10000.0, "local_base": 0.0} (0: as base) or
        # {"name": "functional_relative", "max_distance": 64}, where 0 is for no clipping
        max_position_embeddings=512,
        type_vocab_size=2,
        task_type_vocab_size=0,
        pooler=False,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        initializer_range=0.02,
        layer_norm_eps=1e-12,
        pad_token_id=0,
        **others,
    ):
        super().__init__(**others)
        self.pad_token_id = pad_token_id
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.gated = gated
        self.biases = biases
        self.norm = norm
        self.sharing = sharing
        self.groups = groups
        self.window = window
        self.global_every = global_every
        self.positions = positions or {"name": "absolute"}
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.task_type_vocab_size = task_type_vocab_size
        self.pooler = pooler
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps


class BertJaxPreTrainedModel(PreTrainedModel):
    config_class = BertJaxConfig
    base_model_prefix = "encoder"

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)


class BertJaxModel(BertJaxPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        width, tables = config.hidden_size, config.embedding_size or config.hidden_size
        stored = {
            part: config.groups if config.sharing in (part, "all") else config.num_hidden_layers
            for part in ("attention", "mlp")
        }
        self.word = nn.Embedding(config.vocab_size, tables)
        absolute = config.positions["name"] == "absolute"
        self.position = nn.Embedding(config.max_position_embeddings, tables) if absolute else None
        self.token_type = nn.Embedding(config.type_vocab_size, tables) if config.type_vocab_size else None
        self.task_type = nn.Embedding(config.task_type_vocab_size, tables) if config.task_type_vocab_size else None
        self.norm = layer_norm(config, tables) if config.norm == "post" else None
        self.projection = dense(config, tables, width) if config.embedding_size else None
        self.attention = nn.ModuleList(BertJaxAttention(config) for _ in range(stored["attention"]))
        self.mlp = nn.ModuleList(BertJaxMlp(config) for _ in range(stored["mlp"]))
        self.final_norm = layer_norm(config, width) if config.norm == "pre" else None
        self.pooler = dense(config, width, width) if config.pooler else None
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.post_init()

    def get_input_embeddings(self):
        return self.word

    def set_input_embeddings(self, embeddings):
        self.word = embeddings

    def embed(self, tokens, types, tasks, positions):
        x = self.word(tokens)
        x = x if self.token_type is None else x + self.token_type(types)
        x = x if self.task_type is None else x + self.task_type(tasks)
        x = x if self.position is None else x + self.position(positions)
        x = self.dropout(x if self.norm is None else self.norm(x))
        return x if self.projection is None else self.projection(x)

    def layer(self, number, x, *context):
        """x [B, L, D] → the same after a layer, and the layer's probabilities."""
        of_group = lambda part: part[number * len(part) // self.config.num_hidden_layers]
        attention, mlp = of_group(self.attention), of_group(self.mlp)
        if self.config.norm == "pre":
            normed = attention.norm(x)
            found, probabilities = attention(normed, *context)
            x = (x if number else normed) + self.dropout(found)  # the first one is the embeddings' own
            return x + self.dropout(mlp(mlp.norm(x))), probabilities
        found, probabilities = attention(x, *context)
        x = attention.norm(x + self.dropout(found))
        return mlp.norm(x + self.dropout(mlp(x))), probabilities

    def forward(
        self,
        input_ids,
        attention_mask=None,
        token_type_ids=None,
        task_type_ids=None,
        output_hidden_states=False,
        output_attentions=False,
        **unused,
    ):
        """input_ids, attention_mask (0 is padding), token_type_ids and task_type_ids [B, L]."""
        config, (_, length) = self.config, input_ids.shape
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        tasks = torch.zeros_like(input_ids) if task_type_ids is None else task_type_ids
        positions = torch.arange(length, device=input_ids.device)
        x = self.embed(input_ids, types, tasks, positions)
        bias = (1 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        size, scheme = config.hidden_size // config.num_attention_heads, config.positions
        angles, relative = {}, None
        if scheme["name"] == "rotary":
            bases = {True: scheme.get("local_base") or scheme["base"], False: scheme["base"]}
            angles = {
                local: [table.to(x.dtype) for table in sinusoids(positions, size, base)]
                for local, base in bases.items()
            }
        elif scheme["name"] == "functional_relative":
            table, rows = relative_table(length, size, scheme["max_distance"], x.device)
            relative = table.to(x.dtype), rows
        beyond = (positions[None] - positions[:, None]).abs() > config.window
        biases = {True: bias.masked_fill(beyond, torch.finfo(x.dtype).min), False: bias}
        states, attentions = [x], []
        for number in range(config.num_hidden_layers):
            local = bool(config.window and not (config.global_every and number % config.global_every == 0))
            x, probabilities = self.layer(number, x, biases[local], angles.get(local), relative)
            states.append(x)
            attentions.append(probabilities)
        if self.final_norm is not None:
            x = states[-1] = self.final_norm(x)
        return BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=None if self.pooler is None else torch.tanh(self.pooler(x[:, 0])),
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )


class BertJaxMlmHead(nn.Module):
    """The output weights are the word embeddings."""

    def __init__(self, config):
        super().__init__()
        tables = config.embedding_size or config.hidden_size
        self.dense = dense(config, config.hidden_size, tables)
        self.norm = layer_norm(config, tables)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, x, words):
        return functional.linear(self.norm(self.activation(self.dense(x))), words, self.bias)


class BertJaxForMaskedLM(BertJaxPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.encoder = BertJaxModel(config)
        self.mlm_head = BertJaxMlmHead(config)
        self.post_init()

    def get_input_embeddings(self):
        return self.encoder.word

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, labels=None, **options):
        out = self.encoder(input_ids, attention_mask, token_type_ids, **options)
        logits = self.mlm_head(out.last_hidden_state, self.encoder.word.weight)
        loss = None if labels is None else functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=out.hidden_states, attentions=out.attentions)


class BertJaxForPreTraining(BertJaxPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.encoder = BertJaxModel(config)
        self.mlm_head = BertJaxMlmHead(config)
        self.pair_head = dense(config, config.hidden_size, 2)
        self.post_init()

    def get_input_embeddings(self):
        return self.encoder.word

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, **options):
        out = self.encoder(input_ids, attention_mask, token_type_ids, **options)
        return BertForPreTrainingOutput(
            prediction_logits=self.mlm_head(out.last_hidden_state, self.encoder.word.weight),
            seq_relationship_logits=self.pair_head(out.pooler_output),
            hidden_states=out.hidden_states,
            attentions=out.attentions,
        )


class BertJaxDiscriminatorHead(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense = dense(config, config.hidden_size, config.hidden_size)
        self.output = dense(config, config.hidden_size, 1)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, x):
        return self.output(self.activation(self.dense(x)))[..., 0]


class BertJaxForReplacedTokenDetection(BertJaxPreTrainedModel):
    """The discriminator of ELECTRA (Clark et al. 2020)."""

    def __init__(self, config):
        super().__init__(config)
        self.encoder = BertJaxModel(config)
        self.discriminator_head = BertJaxDiscriminatorHead(config)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, labels=None, **options):
        """logits [B, L], above 0 where a token was replaced; labels [B, L] are 1 there, and padding is not judged."""
        out = self.encoder(input_ids, attention_mask, token_type_ids, **options)
        logits, loss = self.discriminator_head(out.last_hidden_state), None
        if labels is not None:
            judged = torch.ones_like(labels, dtype=torch.bool) if attention_mask is None else attention_mask > 0
            loss = functional.binary_cross_entropy_with_logits(logits[judged], labels[judged].to(logits.dtype))
        return ElectraForPreTrainingOutput(
            loss=loss, logits=logits, hidden_states=out.hidden_states, attentions=out.attentions
        )


class BertJaxClassifier(BertJaxPreTrainedModel):
    """The encoder, and logits of what comes out of it."""

    def __init__(self, config, outputs=None):
        super().__init__(config)
        self.encoder = BertJaxModel(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = dense(config, config.hidden_size, outputs or config.num_labels)
        self.post_init()


class BertJaxForSequenceClassification(BertJaxClassifier):
    """Classes of a text; a number, with one label."""

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, labels=None, **options):
        out = self.encoder(input_ids, attention_mask, token_type_ids, **options)
        logits = self.classifier(self.dropout(out.pooler_output))
        loss = None
        if labels is not None and self.config.num_labels == 1:
            loss = functional.mse_loss(logits.flatten(), labels.flatten().to(logits.dtype))
        elif labels is not None:
            loss = functional.cross_entropy(logits, labels.flatten())
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=out.hidden_states, attentions=out.attentions
        )


class BertJaxForTokenClassification(BertJaxClassifier):
    def forward(self, input_ids, attention_mask=None, token_type_ids=None, labels=None, **options):
        out = self.encoder(input_ids, attention_mask, token_type_ids, **options)
        logits = self.classifier(self.dropout(out.last_hidden_state))
        loss = None if labels is None else functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=out.hidden_states, attentions=out.attentions
        )


class BertJaxForQuestionAnswering(BertJaxPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.encoder = BertJaxModel(config)
        self.qa_outputs = dense(config, config.hidden_size, 2)
        self.post_init()

    def forward(
        self, input_ids, attention_mask=None, token_type_ids=None, start_positions=None, end_positions=None, **options
    ):
        out = self.encoder(input_ids, attention_mask, token_type_ids, **options)
        starts, ends = self.qa_outputs(out.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            both = ((starts, start_positions), (ends, end_positions))
            loss = sum(functional.cross_entropy(logits, places.flatten()) for logits, places in both) / 2
        return QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=starts,
            end_logits=ends,
            hidden_states=out.hidden_states,
            attentions=out.attentions,
        )


class BertJaxForMultipleChoice(BertJaxClassifier):
    def __init__(self, config):
        super().__init__(config, outputs=1)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, labels=None, **options):
        """input_ids [examples, candidates, length]"""
        flat = [None if x is None else x.flatten(0, 1) for x in (input_ids, attention_mask, token_type_ids)]
        out = self.encoder(*flat, **options)
        logits = self.classifier(self.dropout(out.pooler_output)).view(input_ids.shape[:2])
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return MultipleChoiceModelOutput(
            loss=loss, logits=logits, hidden_states=out.hidden_states, attentions=out.attentions
        )
