"""Every error survives pickling whole and has an exit code of its own."""

import pickle

import pytest

from lepton_ray import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LeptonError)]


@pytest.mark.parametrize("kind", KINDS)
def test_error_pickles_whole(kind: type[errors.LeptonError]) -> None:
    back = pickle.loads(pickle.dumps(kind("what is wrong.", "how to mend it.")))
    assert type(back) is kind
    assert (back.what, back.hint, str(back)) == ("what is wrong.", "how to mend it.", "what is wrong. how to mend it.")


def test_exit_codes_differ() -> None:
    codes = [kind.exit_code for kind in KINDS]
    assert sorted(codes) == sorted(set(codes))
