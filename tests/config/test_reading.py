"""Recipes: values are validated all at once, with one line per error."""

import tomllib

import pytest

from pyro_vae.config import (
    REGISTRY,
    Recipe,
    Train,
    override,
    read_recipe,
    recipes,
    to_toml,
    validate,
)

DIGITS = read_recipe("digits-plain")


@pytest.mark.parametrize("name", recipes())
def test_recipes_are_valid_and_written_as_read(name):
    recipe = validate(read_recipe(name))
    assert recipe.name == name
    assert validate(tomllib.loads(to_toml(recipe))) == recipe


def test_all_errors_at_once_one_line_each():
    wrong = {
        "prior.kind": "vmap",
        "train.epocs": 3,
        "train.lr": -1,
        "train.kl_weight": float("nan"),
        "posterior.encoder.hiden_features": [3],
        "sed": 1,
        "train.schedule": "cosin",
        "data.kind": "mnits",
        "device": "gpu",
    }
    with pytest.raises(ValueError) as error:
        validate(override(DIGITS, wrong))
    lines = str(error.value).splitlines()
    assert len(lines) == len(wrong)
    for key in wrong:
        assert any(line.startswith(f"{key}: ") for line in lines), key
    for word in ("'vamp'", "'epochs'", "'hidden_features'", "'seed'", "'cosine'", "'mnist'"):
        assert f"did you mean {word}?" in str(error.value)


def test_dash_and_underscore_are_equivalent():
    a = validate(
        override(DIGITS, {"train.kl-warmup-epochs": 3, "posterior.kind": "full_covariance_normal"})
    )
    b = validate(
        override(DIGITS, {"train.kl_warmup_epochs": 3, "posterior.kind": "full-covariance-normal"})
    )
    assert a == b and a.train.kl_warmup_epochs == 3


def test_a_new_kind_keeps_shared_options_only():
    recipe = validate(
        override(DIGITS, {"likelihood.kind": "gaussian", "likelihood.sigma": "fixed"})
    )
    assert recipe.likelihood.sigma == "fixed"
    assert recipe.likelihood.decoder.hidden_features == tuple(
        DIGITS["likelihood"]["decoder"]["hidden_features"]
    )


def test_a_new_kind_drops_options_of_another_type():
    recipe = validate(override(DIGITS, {"likelihood.decoder.kind": "conv"}))
    assert recipe.likelihood.decoder.hidden_features == 256


def test_missing_values_are_named():
    with pytest.raises(ValueError, match="likelihood: this setting has no default"):
        validate({"data": {"kind": "digits"}})
    with pytest.raises(ValueError, match=r"data.kind: missing; choose from digits"):
        validate({**DIGITS, "data": {}})


@pytest.mark.parametrize(
    "text", ["a = ", "a" * 2_000_000, "a = " + "[" * 5000], ids=["cut", "huge", "deep"]
)
def test_files_that_are_not_recipes(tmp_path, text):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match="Expected"):
        validate(read_recipe(path))


def test_unknown_recipe_gets_a_suggestion():
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        read_recipe("digts")


def test_a_recipe_cannot_name_code():
    with pytest.raises(ValueError, match="target"):
        validate(override(DIGITS, {"prior.kind": "vamp", "prior.target": "os.system"}))


def test_every_setting_has_help():
    parts = ("data", "prior", "likelihood", "posterior", "encoder", "decoder")

    def walk(model):
        for name, info in model.model_fields.items():
            if hasattr(info.annotation, "model_fields") or name in parts:
                continue
            homes = [cls.model_fields for cls in model.__mro__ if hasattr(cls, "model_fields")]
            assert any(fields[name].description for fields in homes if name in fields), (
                model,
                name,
            )

    for kinds in REGISTRY.values():
        for kind in kinds.values():
            assert kind.__doc__
            walk(kind)
    walk(Recipe)
    walk(Train)


def test_a_new_kind_drops_settings_and_reports_it():
    said = []
    conv = {"likelihood.decoder.kind": "conv", "prior.kind": "vamp", "prior.num_components": 7}
    recipe = validate(override(DIGITS, conv, said))
    assert recipe.likelihood.decoder.activation == "SiLU"  # its own default, not the MLP's Tanh
    assert recipe.prior.num_components == 7
    assert said == ["likelihood.decoder.kind is now conv; dropped: hidden_features, activation"]
    same = validate(override(DIGITS, {"likelihood.decoder.kind": "mlp"}, said))
    assert same == validate(DIGITS) and len(said) == 1


@pytest.mark.parametrize(
    "flags,words",
    [
        ({"prior.knid": "vamp"}, "prior.knid: no such setting (did you mean 'kind'?)"),
        ({"prior.num_components": 3}, "it belongs to gaussian-mixture, vamp: set prior.kind"),
        ({"data.path": "x.csv"}, "it belongs to file: set data.kind"),
        ({"likelihood.kind": "product"}, "likelihood.parts: this setting has no default"),
        ({"data.valid": "x"}, "data.valid: input should be a valid integer"),
        ({"name": "../x"}, "name: expected up to 100 letters"),
        ({"name": "a\nb"}, "name: expected up to 100 letters"),
        ({"device": "gpu"}, "did you mean 'cuda'?"),
        ({"train.free_bits": 1e308}, "train.free_bits: expected a number below 1e+30"),
        ({"likelihood.decoder.hidden_features": 10**19}, "less than or equal to 1000000"),
        ({"train.epochs": 10**30}, "train.epochs: expected a number below"),
    ],
)
def test_messages_that_help(flags, words):
    with pytest.raises(ValueError) as error:
        validate(override(DIGITS, flags))
    assert words in str(error.value) and len(str(error.value).splitlines()) == 1


def test_control_characters_come_back_from_toml(tmp_path):
    flags = {"data.kind": "file", "data.path": 'a"b\\c\td\x7f', "data.holes": ["\n", "ü"]}
    recipe = validate(override(DIGITS, flags))
    (tmp_path / "r.toml").write_text(to_toml(recipe), encoding="utf-8")
    assert validate({**read_recipe(tmp_path / "r.toml"), "name": recipe.name}) == recipe


def test_optional_settings_are_comments():
    text = to_toml(validate(DIGITS), optional=True)
    assert (
        "# patience =" in text and "# clip_norm =" in text and "# optimizer_options = {}" in text
    )
    assert validate(tomllib.loads(text)) == validate(DIGITS)


def test_a_setting_that_is_written_twice():
    with pytest.raises(ValueError, match="batch_size: set twice"):
        validate({**DIGITS, "train": {"batch-size": 1, "batch_size": 2}})
