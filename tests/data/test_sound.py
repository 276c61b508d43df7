"""Waves to log-mel frames and back: tones, recordings, files."""

import wave

import numpy as np
import pytest
import torch
from checks import needs_data

import pyro_vae as pv
from pyro_vae.data import log_mel, places, to_waves, write_wav
from pyro_vae.data.sound import RATE, mel_bank

TONES = torch.tensor([120.0, 250.0, 440.0, 700.0, 1000.0, 1760.0, 3000.0], dtype=torch.float64)


def tones(frequencies, length=4096):
    time = torch.arange(length, dtype=torch.float64) / RATE
    return 0.3 * (2 * torch.pi * frequencies[:, None] * time).sin()


def levels_of(waves):
    return ((log_mel(waves) + 60) / 90).clamp(0, 1)


def semitones(waves, frequencies):
    """How far the loudest frequency is from the one that was asked for."""
    spectrum = torch.fft.rfft(waves * torch.hann_window(waves.shape[-1]).double(), 65536).abs()
    return 12 * (spectrum.argmax(-1) * (RATE / 65536) / frequencies).log2()


def test_tones_come_back_within_a_semitone():
    back = to_waves(levels_of(tones(TONES)))
    assert back.shape == (len(TONES), 124 * 31) and back.dtype == torch.float64
    assert semitones(back, TONES).abs().max() < 1
    higher = to_waves(levels_of(tones(TONES * 2 ** (2 / 12))))  # a twin, two semitones off
    assert semitones(higher, TONES).abs().min() > 1


def test_levels_come_back():
    torch.manual_seed(0)
    loudness = torch.hann_window(3000, dtype=torch.float64)
    x = levels_of(0.1 * torch.randn(5, 3000, dtype=torch.float64) * loudness)
    error = (levels_of(to_waves(x)) - x)[x > 0.3].abs().mean() * 90
    assert error < 0.5  # dB
    assert torch.equal(to_waves(x[:2], 10), to_waves(x[:2], 10))
    assert not torch.equal(to_waves(x[:2], 10), to_waves(x[:2], 10, seed=1))


def test_the_power_of_a_tone_is_in_its_band():
    """A tone on a frequency of the transform has a known power there and next to it."""
    tone = tones(torch.tensor([40 * RATE / 256]).double())[0]
    window = torch.hann_window(256, periodic=False, dtype=torch.float64)
    frame = torch.fft.rfft(tone[:256] * window).abs().square()
    expected = 10 * (mel_bank() @ frame + 1e-8).log10()
    torch.testing.assert_close(log_mel(tone)[0], expected)
    assert int(expected.argmax()) == int(mel_bank()[:, 40].argmax())


def test_short_sounds_have_silence_around_them():
    x = log_mel(tones(TONES, 1000))
    assert x.shape == (7, 32, 32)
    assert bool((x[:, [0, -1]] == -80).all()) and x[:, 16].amax() > 0


@pytest.mark.parametrize("shape", [(32, 32), (1, 32, 20), (1, 1, 32)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"Expected log-mel frames of shape \(B, T, 32\)"):
        to_waves(torch.zeros(shape))


def test_a_file_opens_as_sound(tmp_path):
    waves = tones(TONES[:3], 2000)
    waves[0, 7] = 5.0  # is clipped
    write_wav(tmp_path / "x.wav", waves)
    with wave.open(str(tmp_path / "x.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(samples) == 3 * 2000 + 2 * RATE // 4 and samples[7] == 32767
    assert not samples[2000 : 2000 + RATE // 4].any()
    second = samples[4000:6000] / 32767
    np.testing.assert_allclose(second, waves[1], atol=1 / 32767)


@needs_data
def test_rows_of_recordings_are_made_again():
    """Every row of fsdd whose recording is there, exactly."""
    folder = places.find("fsdd", ["fsdd_wave_test300.npz"], None)
    with np.load(folder / "fsdd_wave_test300.npz") as clips:
        audio, cuts = clips["audio"], clips["offsets"]
        keys = [*zip(clips["label"], clips["speaker"], clips["index"])]
    with np.load(folder / "fsdd_logmel32.npz") as rows:
        place = {k: i for i, k in enumerate(zip(rows["label"], rows["speaker"], rows["index"]))}
        mel = rows["logmel"]
    for number in range(0, len(keys), 10):
        clip = torch.from_numpy(audio[cuts[number] : cuts[number + 1]] / 32768)
        found = ((log_mel(clip).float() + 60) / 90 * 255).round().clamp(0, 255)
        assert np.array_equal(found.T.numpy(), mel[place[keys[number]]])
    real = pv.data.fsdd().test.rows(slice(0, 5))
    back = (log_mel(to_waves(real)) + 60) / 90
    assert float((back.clamp(0, 1) - real).abs().mean()) * 90 < 0.5  # dB
