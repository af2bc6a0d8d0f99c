"""Any model that TransformerLens 4 boots, read at any of its hook points.

TransformerLens takes seconds to import, so it is imported when a model is, and not with this module.
"""

import difflib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from saetui.corpus.tokenizer import Tokenizer
from saetui.errors import UsageError, UserError
from saetui.lm.base import AtHook
from saetui.lm.loss import check_tokens, next_token_losses
from saetui.lm.one_layer import OneLayer
from saetui.weights import fingerprint


class _Stop(Exception):
    """Raised by the hook at the hook point: what comes after it is not computed. (``stop_at_layer``
    stops before a block that follows, and nothing follows the last one.)"""


class BridgeModel:
    """``LanguageModel`` over a ``TransformerBridge``.

    Activations with more axes than ``[rows, seq, d]`` (``hook_z``: heads) are flattened to that.
    UsageError for a hook point that the model does not have, or that holds no activation per token.
    """

    def __init__(
        self, bridge: Any, tokenizer: Tokenizer, name: str, hook_name: str, device: torch.device | str
    ) -> None:
        self.name = name
        self.hook_name = hook_name
        self.tokenizer = tokenizer
        self.device = torch.device(device)
        self.bridge = bridge
        self.fingerprint = fingerprint(bridge.state_dict().values())
        self.n_ctx = int(bridge.cfg.n_ctx)
        self.d_vocab = int(bridge.cfg.d_vocab)
        known = bridge.hook_dict
        if hook_name not in known:
            near = difflib.get_close_matches(hook_name, known, n=3)
            hint = f"; near are {', '.join(near)}" if near else ""
            raise UsageError(f"{name} has no hook point {hook_name!r}{hint}")
        self.d_in = self._hooked(torch.zeros(1, 3, dtype=torch.long, device=self.device)).shape[-1]

    @property
    def W_U(self) -> Tensor:
        """The unembedding ``[d_model, d_vocab]``, fp32."""
        return self.bridge.W_U.detach().float()

    def activations(self, tokens: Tensor) -> Tensor:
        """Activations ``[rows, seq, d_in]`` of ``tokens [rows, seq]``; UsageError for rows that are too
        long and for tokens outside the vocabulary."""
        check_tokens(tokens, self.n_ctx, self.d_vocab)
        return self._hooked(tokens.to(self.device).long())

    def at_hook(self, tokens: Tensor) -> AtHook:
        """As ``LanguageModel.at_hook``, except that a hooked model cannot begin in the middle: every
        ``losses`` is a whole forward, with the activations replaced on the way."""
        check_tokens(tokens, self.n_ctx, self.d_vocab)
        tokens = tokens.to(self.device).long()

        @torch.no_grad()
        def losses(activations: Tensor) -> Tensor:
            def logits(part: slice) -> Tensor:
                def put(x: Tensor, hook: Any) -> Tensor:
                    return activations[part].reshape(x.shape).to(x.dtype)

                with self.bridge.hooks(fwd_hooks=[(self.hook_name, put)]):
                    return self.bridge(tokens[part])

            return next_token_losses(tokens, self.d_vocab, logits, self.device)

        return AtHook(self._hooked(tokens), losses)

    def _hooked(self, tokens: Tensor) -> Tensor:
        try:
            return activations_at(self.bridge, self.hook_name, tokens)
        except UsageError as error:
            raise UsageError(f"{self.name}: {error}") from None


@torch.no_grad()
def activations_at(bridge: Any, hook_name: str, tokens: Tensor) -> Tensor:
    """What passes the hook point, ``[rows, seq, d]`` in fp32, for ``tokens [rows, seq]`` on the bridge's
    device; nothing after it is computed. UsageError where that is not one vector for each token."""
    seen: list[Tensor] = []

    def look(x: Tensor, hook: Any) -> None:
        seen.append(x)
        raise _Stop

    try:
        with bridge.hooks(fwd_hooks=[(hook_name, look)]):
            bridge(tokens)
    except _Stop:
        pass
    except ValueError as error:  # a hook point that TransformerLens computes only on demand
        raise UsageError(str(error)) from None
    if not seen:
        raise UsageError(f"the forward never reaches the hook point {hook_name!r}")
    if seen[0].ndim < 3 or seen[0].shape[:2] != tokens.shape:
        raise UsageError(
            f"{hook_name!r} has shape {list(seen[0].shape)} for tokens {list(tokens.shape)}: "
            "a hook point with one vector for each token is needed"
        )
    return seen[0].flatten(2).float()


def boot(name: str, device: torch.device | str, centred: bool = True) -> Any:
    """The bridge for a hub name or a local folder in Hugging Face's format, in compatibility mode.

    Compatibility mode is what TransformerLens did to weights before version 4, and what SAEs are trained
    on: LayerNorm folded, unembedding centred, and what writes to the residual stream centred
    (``centred``; SAELens trains without). UserError where the model cannot be loaded.
    """
    with _quiet():
        from transformer_lens.model_bridge import TransformerBridge

        try:
            bridge = TransformerBridge.boot_transformers(name, device=str(device))
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            raise UserError(f"TransformerLens cannot load {name!r}: {_one_line(error)}") from error
        if getattr(bridge.adapter, "supports_compatibility_mode", True):
            bridge.enable_compatibility_mode(disable_warnings=True, center_writing_weights=centred)
        bridge.eval()
        return bridge


def boot_one_layer(model: OneLayer, device: torch.device | str, process: bool, centred: bool = True) -> Any:
    """A native bridge with the weights of ``model``; ``process`` puts them into compatibility mode, and
    is left out where they already are in that form."""
    with _quiet():
        from transformer_lens.config import TransformerBridgeConfig
        from transformer_lens.model_bridge.sources import native
        from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

        c = model.config
        config = TransformerBridgeConfig(
            d_model=c.d_model,
            n_layers=1,
            d_mlp=c.d_mlp,
            d_head=c.d_head,
            n_heads=c.n_heads,
            n_ctx=c.n_ctx,
            d_vocab=c.d_vocab,
            eps=c.eps,
            act_fn="gelu",
            normalization_type="LN",
            positional_embedding_type="standard",
            architecture="TransformerLensNative",
            init_weights=False,
        )
        bridge = native.boot(config, device=str(device))
        weights = {_transformer_lens_name(name): weight for name, weight in model.weights.items()}
        bridge.load_state_dict(convert_tl_checkpoint(weights, config), strict=True)
        if process:
            bridge.enable_compatibility_mode(disable_warnings=True, center_writing_weights=centred)
        bridge.eval()
        return bridge


def boot_legacy(repo: str, state: dict[str, Tensor], device: torch.device | str, centred: bool = True) -> Any:
    """A native bridge for a hub repository in TransformerLens's own old format, whose ``config.json``
    lies in the hub cache and whose checkpoint is ``state``."""
    with _quiet():
        from transformer_lens.model_bridge.sources import native, tl_legacy
        from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

        try:
            config = tl_legacy.derive_tl_legacy_config(repo)
            if getattr(config, "original_architecture", "neel") == "neel":
                bridge = native.boot(config, device=str(device))
                weights = convert_tl_checkpoint(state, config)
                weights.setdefault("unembed.bias", torch.zeros(config.d_vocab))
                bridge.load_state_dict(weights, strict=True)
            else:  # other layouts of the weights: TransformerLens knows them, but needs the network
                bridge = tl_legacy.boot(repo, device=str(device))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(f"TransformerLens cannot load {repo!r}: {_one_line(error)}") from error
        bridge.enable_compatibility_mode(disable_warnings=True, center_writing_weights=centred)
        bridge.eval()
        return bridge


def official_name(name: str) -> str:
    """The hub name that TransformerLens means by one of its short names (``gelu-2l``, ``gpt2-small``)."""
    with _quiet():
        from transformer_lens.tools.model_registry.registry_io import resolve_model_alias
    return resolve_model_alias(name) or name


def tokenizer_of(bridge: Any, name: str) -> Tokenizer:
    """The bridge's tokenizer in our own terms. UserError where the model has none that is a fast one."""
    inner = getattr(bridge.tokenizer, "backend_tokenizer", None)
    if inner is None:
        raise UserError(f"{name} has no tokenizer that saetui can use: a fast one (tokenizer.json) is needed")
    return Tokenizer(inner, bridge.tokenizer.bos_token)


def _transformer_lens_name(name: str) -> str:
    """A weight's name in a checkpoint of a one-layer model, e.g. ``blocks.0.attn.W_Q`` for ``W_Q``."""
    parts = {
        "W_E": "embed", "W_pos": "pos_embed", "W_U": "unembed", "b_U": "unembed",
        "W_in": "blocks.0.mlp", "b_in": "blocks.0.mlp", "W_out": "blocks.0.mlp", "b_out": "blocks.0.mlp",
        "ln1.w": "blocks.0", "ln1.b": "blocks.0", "ln2.w": "blocks.0", "ln2.b": "blocks.0",
    }  # fmt: skip
    if name.startswith("ln_final."):
        return name
    return f"{parts.get(name, 'blocks.0.attn')}.{name}"


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 240 else f"{text[:240]}…"


@contextmanager
def _quiet() -> Iterator[None]:
    """TransformerLens and transformers narrate, and draw progress bars also where nobody can see them."""
    os.environ.setdefault("WANDB_MODE", "disabled")
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not sys.stderr.isatty():
                from transformers.utils.logging import disable_progress_bar

                disable_progress_bar()
            yield
    finally:
        logging.disable(level)
