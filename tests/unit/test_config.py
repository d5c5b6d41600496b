"""Settings merge in one order, remember their source, and name what is wrong."""

from __future__ import annotations

import stat

import pytest

from chatrwkv.config import load_settings
from chatrwkv.errors import BadValue, ConfigError, StoreFull, UnknownKey
from chatrwkv.paths import Paths, bundled_prompts, private_dir

SAMPLING = {"temperature": float, "top_p": float, "seed": int}


def write(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_everything_is_the_default(tmp_path):
    settings = load_settings(tmp_path / "none.toml", environ={})
    assert settings.model.device == "auto"
    assert set(settings.sources.values()) == {"default"}


def test_flag_beats_environment_beats_file(tmp_path):
    path = write(tmp_path, '[model]\ndevice = "cpu"\ndtype = "bf16"\ndefault = "a"\n')
    environ = {"CHATRWKV_MODEL__DEVICE": "cuda", "CHATRWKV_MODEL__DEFAULT": "b", "UNRELATED": "x"}
    settings = load_settings(path, environ=environ, flags={"model.default": "c", "model.device": None})
    assert (settings.model.dtype, settings.model.device, settings.model.default) == ("bf16", "cuda", "c")
    assert settings.sources["model.dtype"] == str(path)
    assert settings.sources["model.device"] == "environment"
    assert settings.sources["model.default"] == "flag"


def test_sampling_values_become_numbers(tmp_path):
    path = write(tmp_path, "[sampling]\ntemperature = 0.8\n")
    settings = load_settings(path, environ={"CHATRWKV_SAMPLING__SEED": "7"}, sampling_kinds=SAMPLING)
    assert settings.sampling == {"temperature": 0.8, "seed": 7}


def test_sampling_values_have_the_type_of_their_setting(tmp_path):
    path = write(tmp_path, '[sampling]\nstop = ["END"]\nnegative = "7"\nanti_repeat = true\n')
    environ = {"CHATRWKV_SAMPLING__NEWLINE_RULE": "on", "CHATRWKV_SAMPLING__CFG": "2"}
    kinds = {"stop": tuple, "negative": str, "anti_repeat": bool, "newline_rule": bool, "cfg": float}
    found = load_settings(path, environ=environ, sampling_kinds=kinds).sampling
    assert found == {
        "stop": ("END",),
        "negative": "7",
        "anti_repeat": True,
        "newline_rule": True,
        "cfg": 2,
    }
    with pytest.raises(BadValue, match="anti_repeat"):
        load_settings(path, environ={"CHATRWKV_SAMPLING__ANTI_REPEAT": "3"}, sampling_kinds=kinds)


def test_an_unknown_key_names_the_nearest_known_one(tmp_path):
    path = write(tmp_path, '[model]\ndevise = "cpu"\n')
    with pytest.raises(UnknownKey) as raised:
        load_settings(path, environ={})
    assert str(path) in raised.value.message
    assert "model.device" in raised.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "[chat]\nstate_budget_mb = -1\n",
        '[chat]\nstate_budget_mb = "many"\n',
        "[model]\ndevice = 3\n",
        '[model]\ndtype = "fp64"\n',
        '[interface]\nsend_key = "x"\n',
        "[interface]\nkeys = 3\n",
        "[model]\nfolders = [1]\n",
        'offline = "perhaps"\n',
    ],
)
def test_a_wrong_value_is_named_with_its_key(tmp_path, text):
    with pytest.raises(BadValue) as raised:
        load_settings(write(tmp_path, text), environ={})
    assert text.strip().splitlines()[-1].split(" = ")[0] in raised.value.message


def test_a_file_that_is_no_toml_is_one_plain_sentence(tmp_path):
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_settings(write(tmp_path, "[model\n"), environ={})


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_settings(path, environ={})


def test_one_variable_moves_every_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATRWKV_DATA_DIR", str(tmp_path / "all"))
    paths = Paths.default()
    for folder in (paths.config_dir, paths.data_dir, paths.state_dir, paths.cache_dir, paths.models):
        assert folder.is_relative_to(tmp_path / "all")
    assert not (tmp_path / "all").exists(), "asking for paths must not create them"


def test_folders_are_private(tmp_path):
    folder = private_dir(tmp_path / "a" / "b")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreFull, match="CHATRWKV_DATA_DIR"):
        private_dir(tmp_path / "file" / "below")


def test_bundled_prompts_exist():
    assert list(bundled_prompts().glob("*.toml"))
