"""Differences between locks are about what is sharded, and never about how a rule is written."""

from dataclasses import replace

from made_locks import DOWN, NORM, RIGHT, UP, compiled, row, rule

from kit.lock.content import Collectives, LockedRule
from kit.lock.differences import differences, same_sharding


class TestRules:
    def test_the_same(self) -> None:
        assert differences(RIGHT, RIGHT) == []

    def test_another_spelling_and_another_order(self) -> None:
        up, down = RIGHT.rules
        spelled = (
            replace(down, pattern=r"block_\d+/down/kernel"),
            replace(up, pattern="block.*up.*", spec=("batch", "model")),
        )
        # The axis "batch" has one device.
        assert differences(RIGHT, replace(RIGHT, rules=spelled)) == []
        one = rule(".*", (None, "model"), row(UP))
        assert same_sharding(RIGHT, replace(RIGHT, rules=(one, down)))

    def test_a_rule_matches_fewer(self) -> None:
        up, down = RIGHT.rules
        typo = replace(down, pattern="down/kernel", variables=())
        missed = replace(RIGHT, rules=(up, typo), unmatched=(*RIGHT.unmatched, row(DOWN, shards=1)))
        # 28 matrices of 16.8 MB, with two moments, 7/8 of which other devices held.
        assert differences(RIGHT, missed) == [
            "rule 2, `.*/down/kernel`, now `down/kernel`, matches 28 matrices fewer (block_N/down/kernel), now "
            "replicated: +1.23 GB per device",
            "weights and optimizer state take 1.59 GB per device instead of 353.7 MB (+1.23 GB)",
        ]
        assert differences(missed, RIGHT)[0] == (
            "rule 2, `.*/down/kernel`, matches 28 matrices more (block_N/down/kernel), until now replicated: -1.23 GB "
            "per device"
        )
        some = replace(down, variables=(row(DOWN, 20),))
        fewer = replace(RIGHT, rules=(up, some), unmatched=(*RIGHT.unmatched, row(DOWN, 8, 1)))
        assert "rule 2, `.*/down/kernel`, matches 8 matrices fewer" in differences(RIGHT, fewer)[0]

    def test_a_rule_is_gone(self) -> None:
        gone = replace(RIGHT, rules=RIGHT.rules[:1], unmatched=(*RIGHT.unmatched, row(DOWN, shards=1)))
        assert differences(RIGHT, gone)[0].startswith("rule 2, `.*/down/kernel`, is gone, which matched 28 matrices (")

    def test_a_rule_is_turned(self) -> None:
        up, down = RIGHT.rules
        turned = replace(RIGHT, rules=(up, replace(down, spec=(None, "model"))))
        assert differences(RIGHT, turned) == [
            "rule 2, `.*/down/kernel`, shards 28 matrices as (-, model) instead of (model, -) (block_N/down/kernel): "
            "+0 B per device"
        ]

    def test_the_model_grows(self) -> None:
        up, down = RIGHT.rules
        larger = replace(
            RIGHT,
            parameters=1100,
            rules=(replace(up, variables=(row(UP, 30),)), replace(down, variables=(row(DOWN, 30),))),
            unmatched=(row(NORM, 30, 1, (4096,)),),
        )
        found = differences(RIGHT, larger)
        assert found[0] == "the model has 1,100 parameters instead of 1,000"
        assert "the model has 30 instead of 28 of block_N/up/kernel (4096, 1024)" in found
        assert not any("rule" in sentence for sentence in found)

    def test_the_mesh_and_outputs(self) -> None:
        other = replace(RIGHT, axes={"batch": 2, "model": 4})
        assert differences(RIGHT, other)[0] == "the mesh is (batch 2, model 4) instead of (batch 1, model 8)"
        up, down = RIGHT.rules
        output = replace(RIGHT, rules=(up, down, LockedRule("block.*/output", ("model",), 0, (), ("block_N",))))
        assert differences(RIGHT, output) == [
            "outputs of block_N are sharded as (model) instead of left to the compiler"
        ]


class TestCompiled:
    def test_collectives_and_peak(self) -> None:
        gather = Collectives("block_N/down", "all-gather", 28, 28 * 10**6)
        reduce = Collectives("block_N/down", "all-reduce", 56, 10**8)
        before = replace(RIGHT, compiled=compiled(reduce))
        after = replace(RIGHT, compiled=compiled(gather, replace(reduce, count=84), peak=12 * 10**9))
        assert differences(before, after) == [
            "on v5e-8 the peak is 12.00 GB instead of 10.00 GB (+2.00 GB per device)",
            "on v5e-8: 28 all-gathers per step new, in block_N/down: +28.0 MB of results per device",
            "on v5e-8: 28 all-reduces per step more, in block_N/down: +0 B of results per device",
        ]
        assert "28 all-gathers per step gone" in " ".join(differences(after, before))

    def test_a_peak_that_hardly_moves_is_no_difference(self) -> None:
        before = replace(RIGHT, compiled=compiled())
        assert differences(before, replace(RIGHT, compiled=compiled(peak=10**10 + 5 * 10**7))) == []

    def test_it_does_not_fit_any_more(self) -> None:
        before, after = replace(RIGHT, compiled=compiled()), replace(RIGHT, compiled=compiled(peak=10**11, fits=False))
        assert differences(before, after)[0].startswith("on v5e-8 the step does not fit any more: peak 100.00 GB")
