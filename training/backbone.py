"""Features of a frozen network: levels of any of timm's, or of a PDN; their weights come from training/pretrained.py."""

import difflib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from agent.error import InputError
from training.pdn import OUTPUTS, STRIDE, PdnM, PdnS

PDN_S, PDN_M = "pdn-s", "pdn-m"
_NOT_TIMMS = {PDN_S, PDN_M}
STRIDES = (8, 16)  # PatchCore's "layer2+3": fine enough to find small defects, deep enough to know the part
_BLOCK = {"cait_m48_448": 40}  # FastFlow's choice, of 48
_STAGES = {"efficientnet_b5": 6, "tf_efficientnet_b5": 6}  # AST's choice of stride 32, of 7: timm's own is the last


class BackboneError(InputError, ValueError):
    """No such network, or one that has no features of the strides needed."""


class Backbone(nn.Module):
    """Frozen features of a timm network, by default of stride 8 and 16, or a PDN's one level of stride 4; always in eval mode.

    A transformer has one grid: it gives the one level after a block two thirds deep, its final norm applied; the option
    `out_indices` names other blocks. channels: of its levels, finest first. image_size: height and width where they are
    fixed, as by the positions that a transformer has learned, else None.
    """

    def __init__(self, name: str, options: Mapping[str, Any] | None = None, strides: tuple[int, ...] = STRIDES) -> None:
        super().__init__()
        self.name, self.options = name, dict(options or {})
        self.network: nn.Module
        self.channels: tuple[int, ...]
        self.network, self.channels = (_create_pdn if name in _NOT_TIMMS else _create)(name, self.options, strides)
        self.is_transformer = isinstance(self.network, FeatureGetterNet) and self.network.norm
        fixed: list[Any] = [module.img_size for module in self.network.modules() if getattr(module, "strict_img_size", False)]
        self.image_size: tuple[int, int] | None = fixed[0] if fixed else None
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Backbone":
        """Stays in eval mode: statistics of the parts must not replace those of the weights."""
        del mode
        super().train(False)
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalized to (B, C8, H/8, W/8) and (B, C16, H/16, W/16), or of the strides asked for.

        A PDN, which knows no padding: to (B, 384, H/4 - 8, W/4 - 8) alone. Raises BackboneError at another than its size.
        """
        height, width = images.shape[2:]
        if self.image_size is not None and (height, width) != self.image_size:
            raise BackboneError(
                f"backbone {self.name!r} takes images of {self.image_size[0]}x{self.image_size[1]} px, found {height}x{width}: "
                f"give --image-size {self.image_size[0]}, or --set-backbone img_size={height} and weights of that size"
            )
        levels = self.network(images)
        return (levels,) if isinstance(levels, Tensor) else tuple(levels)


def open_residuals(backbone: Backbone) -> None:
    """timm starts the last gain of each residual branch at zero: good for training, but an untrained branch is then silent."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            nn.init.ones_(module.weight)


def refuse_unknown(name: str) -> None:
    """Raises BackboneError where there is no network of that name."""
    if name not in _NOT_TIMMS and ("/" in name or not timm.is_model(name)):
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"close names: {', '.join(close)}" if close else "timm.list_models() lists them"
        raise BackboneError(f"backbone {name!r} is unknown to timm {timm.__version__}; {hint}")


def _create_pdn(name: str, options: Mapping[str, Any], wanted: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
    if options:
        raise BackboneError(f"backbone {name!r} does not take the options {dict(options)}")
    if wanted not in (STRIDES, (STRIDE,)):
        raise BackboneError(f"backbone {name!r} has features of stride {STRIDE} only, needed: {wanted}")
    return PdnS() if name == PDN_S else PdnM(), (OUTPUTS,)


def _create(name: str, options: Mapping[str, Any], wanted: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
    """The network up to the last of the strides, weights undefined."""
    refuse_unknown(name)
    if (colors := options.get("in_chans", 3)) != 3:
        raise BackboneError(f"backbone {name!r} with in_chans={colors}: leave it out, grey photographs have 3 colors too")
    try:
        with torch.device("meta"):  # only its description is wanted
            whole: Any = timm.create_model(name, pretrained=False, features_only=True, **options)
        strides: list[int] = whole.feature_info.reduction()
        if isinstance(whole, FeatureGetterNet) and min(wanted) <= min(strides) == max(strides) <= max(wanted):
            return _create_transformer(name, options)
        if wanted == (32,) and (stages := _STAGES.get(name.split(".")[0])):
            return _create_cut(name, options, stages)
    except (RuntimeError, AttributeError, AssertionError) as e:
        raise BackboneError(f"backbone {name!r} gives no intermediate features (features_only): {e}") from e
    except (TypeError, ValueError, KeyError) as e:
        if not options:
            raise
        raise BackboneError(f"backbone {name!r} does not take the options {dict(options)}: {e}") from e
    if not set(wanted) <= set(strides):
        raise BackboneError(f"backbone {name!r} has features of stride {strides}, needed: {wanted}; try resnet18")
    levels = tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in wanted)
    network: Any = timm.create_model(name, pretrained=False, features_only=True, out_indices=levels, **options)
    return network, tuple(network.feature_info.channels())


def _create_transformer(name: str, options: Mapping[str, Any]) -> tuple[nn.Module, tuple[int, ...]]:
    """The network up to the last of its blocks, weights undefined."""
    others = {key: value for key, value in options.items() if key != "out_indices"}
    whole: Any = timm.create_model(name, pretrained=False, **others)
    block = _BLOCK.get(name.split(".")[0], 2 * len(whole.feature_info) // 3 - 1)  # DeiT: 7 of 0 to 11, FastFlow's choice too
    network = FeatureGetterNet(whole, out_indices=options.get("out_indices", [block]), norm=True)
    return network, tuple(network.feature_info.channels())


def _create_cut(name: str, options: Mapping[str, Any], stages: int) -> tuple[nn.Module, tuple[int, ...]]:
    """An EfficientNet up to the last block of so many stages, weights undefined."""
    whole: Any = timm.create_model(name, pretrained=False, **options)
    trunk = {"conv_stem": whole.conv_stem, "bn1": whole.bn1, "blocks": whole.blocks[:stages]}
    return nn.Sequential(OrderedDict(trunk)), (trunk["blocks"][-1][-1].bn3.num_features,)
