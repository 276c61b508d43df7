r"""Sound: waves to log-mel frames, as those of spoken digits, and back by Griffin-Lim."""

import wave
from pathlib import Path

import torch
from torch import Tensor

from ..counted import counted
from ..writing import replacing

RATE, SIZE, FRAMES, BANDS = 8000, 256, 32, 32
SHORTEST = 4096
LOWEST, SPAN = -60.0, 90.0  # dB of level 0, and from there to the highest level
HOP = 124  # (SHORTEST - SIZE) / (FRAMES - 1) is 123.87
PAUSE = RATE // 4


def mel_bank(dtype: torch.dtype = torch.float64) -> Tensor:
    r"""Returns 32 triangles of height 1 on the mel scale :math:`2595 \log_{10}(1 + f / 700)` from
    60 to 3900 Hz, of shape `(BANDS, SIZE // 2 + 1)`."""
    low, high = (2595 * torch.tensor(1 + f / 700, dtype=torch.float64).log10() for f in (60, 3900))
    steps = torch.arange(BANDS + 2, dtype=torch.float64) / (BANDS + 1)
    edges = 700 * (10 ** ((low + steps * (high - low)) / 2595) - 1)
    frequency = torch.arange(SIZE // 2 + 1, dtype=torch.float64) * (RATE / SIZE)
    rise = (frequency - edges[:-2, None]) / edges.diff()[:-1, None]
    fall = (edges[2:, None] - frequency) / edges.diff()[1:, None]
    return torch.minimum(rise, fall).clamp(min=0).to(dtype)


def log_mel(waves: Tensor) -> Tensor:
    r"""Returns the log-mel frames of waves, in dB: power of 32 bands in 32 frames of 256 samples.

    Waves of fewer than 4096 samples have silence put around them; the frames of longer ones are
    further apart. Data `fsdd` are these, as levels 0 to 255 of -60 to 30 dB.

    Arguments:
        waves: Of shape `(*batch, N)`, at 8 kHz, between -1 and 1.

    Returns:
        Frames of shape `(*batch, 32, 32)`: time, then bands.
    """
    gap = max(0, SHORTEST - waves.shape[-1])
    waves = torch.nn.functional.pad(waves, (gap // 2, gap - gap // 2))
    hop = (waves.shape[-1] - SIZE) / (FRAMES - 1)
    starts = (torch.arange(FRAMES, dtype=torch.float64) * hop).long()
    frames = waves[..., starts[:, None] + torch.arange(SIZE)] * _window(waves)
    power = torch.fft.rfft(frames).abs().square()
    return 10 * (power @ mel_bank(waves.dtype).T + 1e-8).log10()


@counted
def to_waves(levels: Tensor, num_iterations: int = 60, *, seed: int = 0) -> Tensor:
    r"""Returns waves whose log-mel frames are close to those given, by the algorithm of Griffin
    and Lim: a wave is analyzed, its bands are brought to the power that is asked for while its
    phases stay, and a wave that fits best is made of that, again and again.

    Within a band, power is moved by the multiplicative step that lowers the Itakura-Saito
    distance to that of the frame. The first half of the iterations has a frame, interpolated in
    dB, between any two, so that phases of neighbours fit each other.

    References:
        | Signal Estimation from Modified Short-Time Fourier Transform (Griffin & Lim, 1984)
        | https://doi.org/10.1109/TASSP.1984.1164317
        | Nonnegative Matrix Factorization with the Itakura-Saito Divergence
        | (Fevotte et al., 2009), Sec. 2.2, the square root of whose step decreases the distance
        | https://doi.org/10.1162/neco.2008.04-08-771

    Arguments:
        levels: Of shape `(B, T, 32)`, from 0 (-60 dB) to 1 (30 dB); values outside are clamped.
        num_iterations: The number of iterations.
        seed: Seeds the phases at the start.

    Returns:
        Waves of shape `(B, 124 (T - 1))` at 8 kHz: 0.48 s of 32 frames, however long the
        recording was that they come from.

    Raises:
        ValueError: The frames have another shape.
    """
    if levels.dim() != 3 or levels.shape[1] < 2 or levels.shape[2] != BANDS:
        raise ValueError(
            f"Expected log-mel frames of shape (B, T, {BANDS}) with two frames at least; got "
            f"{tuple(levels.shape)}."
        )
    decibel = LOWEST + SPAN * levels.detach().double().cpu().clamp(0, 1)
    between = (decibel[:, 1:] + decibel[:, :-1]) / 2
    dense = torch.stack([decibel[:, :-1], between], 2).flatten(1, 2)
    dense = torch.cat([dense, decibel[:, -1:]], 1)
    generator = torch.Generator().manual_seed(seed)
    length = HOP * (levels.shape[1] - 1)
    waves = torch.randn(len(levels), length, generator=generator, dtype=torch.float64)
    for frames, hop in ((dense, HOP // 2), (decibel, HOP)):
        for _ in range(-(-num_iterations // 2)):
            waves = _step(waves, 10 ** (frames / 10), hop)
    return waves.to(levels.dtype)


def _step(waves: Tensor, energy: Tensor, hop: int) -> Tensor:
    r"""Brings the bands of waves to some energy, of shape `(B, T, BANDS)`, in frames `hop` samples
    apart, and returns the waves that fit best."""
    bank, window = mel_bank(waves.dtype), _window(waves)
    seen = torch.stft(
        waves, SIZE, hop, window=window, center=True, pad_mode="constant", return_complex=True
    )
    power = seen.abs().square().transpose(1, 2) + 1e-12
    for _ in range(3):
        have = power @ bank.T + 1e-12
        power = power * ((energy / have.square()) @ bank / ((1 / have) @ bank + 1e-12)).sqrt()
    size = power.sqrt().transpose(1, 2) / (seen.abs() + 1e-12)
    size = size * (bank.sum(0) > 0)[:, None]
    whole = seen * size
    return torch.istft(whole, SIZE, hop, window=window, center=True, length=waves.shape[1])


def _window(like: Tensor) -> Tensor:
    return torch.hann_window(SIZE, periodic=False, dtype=like.dtype)


def write_wav(path: Path, waves: Tensor) -> None:
    r"""Writes waves, of shape `(B, N)` at 8 kHz, one after the other with a quarter of a second of
    silence between, as 16 bits; what is beyond -1 or 1 is clipped."""
    silence = waves.new_zeros(len(waves), PAUSE)
    joined = torch.cat([waves, silence], 1).flatten()[:-PAUSE]
    samples = (joined.double() * 32767).round().clamp(-32768, 32767).to(torch.int16)
    with replacing(path) as partial, wave.open(str(partial), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.cpu().numpy().astype("<i2").tobytes())
