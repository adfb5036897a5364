import jax
import numpy as np
import pytest

from bayespot.draws import Draws
from bayespot.errors import UserError

HEALTHY = np.array([True, False, True, True])
PROVENANCE = {
    "config": 'title = "µ"\n',
    "seed": 3,
    "versions": {"bayespot": "0.1.0"},
    "energy_shift": {"elements": [1, 8], "energies": [-0.1, 1 / 3]},
}


def make(chains=4, draws=6, healthy=HEALTHY):
    rng = np.random.default_rng(0)

    def leaf(*shape):
        values = rng.normal(size=(chains, draws, *shape)).astype(np.float32)
        values[~healthy] = np.nan
        return values

    params = {
        "potential": ({"block0/in": {"w": leaf(3, 2), "b": leaf(2)}}, {"scale": leaf()}),
        # chain and draw of every entry, so that a selection can be read off
        "mark": np.add.outer(100 * np.arange(chains), np.arange(draws)).astype(np.int32),
    }
    density = np.where(healthy[:, None], rng.normal(size=(chains, draws)), np.nan)
    verdicts = tuple("healthy" if h else "diverged at step 7 — no NaN" for h in healthy)
    return Draws(params, density, healthy, verdicts, PROVENANCE)


def like(draws):
    return jax.eval_shape(lambda x: jax.tree.map(lambda y: y[0, 0], x), draws.params)


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def test_round_trip_bit_for_bit(tmp_path):
    draws = make()
    draws.save(tmp_path / "posterior.nc")
    back = Draws.load(tmp_path / "posterior.nc", like(draws))
    assert jax.tree.structure(back.params) == jax.tree.structure(draws.params)
    assert all(jax.tree.leaves(jax.tree.map(same_bits, draws.params, back.params)))
    assert same_bits(draws.log_density, back.log_density)
    assert same_bits(draws.healthy, back.healthy)
    assert back.verdicts == draws.verdicts
    assert back.provenance == PROVENANCE
    assert (back.num_chains, back.num_draws) == (4, 6)
    assert [p.name for p in tmp_path.iterdir()] == ["posterior.nc"]


def test_a_loaded_store_saves_the_same_file_again(tmp_path):
    draws = make()
    draws.save(tmp_path / "a.nc")
    Draws.load(tmp_path / "a.nc", like(draws)).save(tmp_path / "b.nc")
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


def test_equal_draws_give_equal_files(tmp_path):
    for name in ("a.nc", "b.nc"):
        make().save(tmp_path / name)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


def test_healthy_chains_only():
    chosen = make().by_chain()["mark"]
    assert sorted({int(m) // 100 for m in chosen.ravel()}) == [0, 2, 3]


def test_flat_holds_every_healthy_draw_once():
    for limit in (None, 18, 100):
        params = make().flat(limit)
        expected = [100 * c + d for c in (0, 2, 3) for d in range(6)]
        assert params["mark"].tolist() == expected
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
    assert params["potential"][0]["block0/in"]["w"].shape == (18, 3, 2)


@pytest.mark.parametrize("limit", range(1, 18))
def test_flat_with_a_limit_spreads_over_chains_and_draws(limit):
    draws = make()
    params = draws.flat(limit)
    marks = params["mark"].tolist()
    assert len(set(marks)) == limit
    chains = [m // 100 for m in marks]
    assert set(chains) <= {0, 2, 3}
    counts = [chains.count(c) for c in (0, 2, 3)]
    assert max(counts) - min(counts) <= 1
    for chain in {*chains}:
        own = [m % 100 for m in marks if m // 100 == chain]
        assert own[-1] == 5  # the last draw is the one furthest from the start
        gaps = np.diff(own)
        assert np.all(gaps >= 1)
        if len(own) == max(counts):
            assert np.ptp([*gaps, 5 - own[-1] + own[0] + 1]) <= 1
    scale = params["potential"][1]["scale"]
    assert np.isfinite(scale).all()
    expected = [draws.params["potential"][1]["scale"][m // 100, m % 100] for m in marks]
    np.testing.assert_array_equal(scale, expected)


def test_flat_refuses_a_limit_below_one():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        make().flat(0)


def test_no_healthy_chain():
    draws = make(chains=2, healthy=np.array([False, False]))
    for call in (draws.by_chain, draws.flat, lambda: draws.flat(1)):
        with pytest.raises(UserError, match=r"all 2 chains diverged .*step 7.*step sizes"):
            call()


def other_shape(template):
    template["potential"][0]["block0/in"]["w"] = jax.ShapeDtypeStruct((3, 4), np.float32)


def other_name(template):
    template["potential"][0]["block1/in"] = template["potential"][0].pop("block0/in")


def one_more(template):
    template["noise"] = jax.ShapeDtypeStruct((), np.float32)


def one_less(template):
    del template["potential"][0]["block0/in"]["b"]


@pytest.mark.parametrize("change", [other_shape, other_name, one_more, one_less])
def test_another_template_is_refused(tmp_path, change):
    draws = make()
    path = tmp_path / "posterior.nc"
    draws.save(path)
    template = like(draws)
    change(template)
    with pytest.raises(UserError, match=r"posterior.nc holds .*another potential: use the config"):
        Draws.load(path, template)


def test_arviz_sees_chains_and_draws():
    data = make().to_arviz()
    posterior = data["posterior"]
    assert posterior.sizes["chain"] == 4
    assert posterior.sizes["draw"] == 6
    assert "potential.0.block0.in.w" in posterior
    assert data["sample_stats"]["healthy"].values[:, 0].tolist() == HEALTHY.tolist()


def test_a_file_that_is_no_netcdf_is_a_clear_error(tmp_path):
    path = tmp_path / "posterior.nc"
    path.write_bytes(b"not netcdf")
    with pytest.raises(UserError, match="cannot be read as posterior draws"):
        Draws.load(path, {"w": np.zeros(2)})
