"""The encoders of bert_jax with the heads of tasks, for the library transformers.

AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True)
"""

from torch import nn
from torch.nn import functional
from transformers.modeling_outputs import (
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from .modeling_bert_jax import BertJaxModel, BertJaxPreTrainedModel, dense


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
