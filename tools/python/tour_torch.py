"""The functions of Dive into Deep Learning's chapters on attention, by PyTorch: what tour.py compares attend with."""
import math

import torch


def sequence_mask(X, valid_lens, value=0.0):
    hidden = torch.arange(X.shape[1]) >= valid_lens[:, None]
    return X.masked_fill(hidden, value)


def masked_softmax(X, valid_lens=None):
    if valid_lens is not None:
        rows = valid_lens.repeat_interleave(X.shape[1]) if valid_lens.dim() == 1 else valid_lens.reshape(-1)
        X = sequence_mask(X.reshape(-1, X.shape[-1]), rows, -1e6).reshape(X.shape)
    return torch.softmax(X, dim=-1)


def transpose_qkv(X, num_heads):
    X = X.reshape(X.shape[0], X.shape[1], num_heads, -1).permute(0, 2, 1, 3)
    return X.reshape(-1, X.shape[2], X.shape[3])


def transpose_output(X, num_heads):
    X = X.reshape(-1, num_heads, X.shape[1], X.shape[2]).permute(0, 2, 1, 3)
    return X.reshape(X.shape[0], X.shape[1], -1)


class DotProductAttention(torch.nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, queries, keys, values, valid_lens=None):
        scores = queries @ keys.transpose(1, 2) / math.sqrt(queries.shape[-1])
        self.attention_weights = masked_softmax(scores, valid_lens)
        return self.dropout(self.attention_weights) @ values


class MultiHeadAttention(torch.nn.Module):
    def __init__(self, key_size, query_size, value_size, num_hiddens, num_heads, dropout, bias=False):
        super().__init__()
        self.num_heads, self.attention = num_heads, DotProductAttention(dropout)
        self.W_q, self.W_k, self.W_v, self.W_o = (torch.nn.Linear(size, num_hiddens, bias=bias)
                                                  for size in (query_size, key_size, value_size, num_hiddens))

    def forward(self, queries, keys, values, valid_lens=None):
        queries, keys, values = (transpose_qkv(W(X), self.num_heads)
                                 for W, X in ((self.W_q, queries), (self.W_k, keys), (self.W_v, values)))
        if valid_lens is not None:
            valid_lens = valid_lens.repeat_interleave(self.num_heads, dim=0)
        return self.W_o(transpose_output(self.attention(queries, keys, values, valid_lens), self.num_heads))
