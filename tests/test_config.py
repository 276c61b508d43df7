"""Recipes: what is read is checked, all at once, one line an error."""

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


def test_every_error_at_once_one_line_each():
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


def test_dash_and_underscore_are_alike():
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
def test_files_that_are_no_recipe(tmp_path, text):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match="Expected"):
        validate(read_recipe(path))


def test_unknown_recipe_gets_a_suggestion():
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        read_recipe("digts")


def test_a_recipe_names_no_code():
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
