"""Instructions of a compiled program."""

from kit.evidence.hlo import first_group, instructions


class TestProgramText:
    TEXT = """
  %a.1 = f32[2,4]{1,0} parameter(0), metadata={op_name="state[0][1]"}
  %ar = f32[2,4]{1,0:T(2,128)} all-reduce(%a.1), replica_groups={{0,4},{1,5}}, to_apply=%sum
  %ars = f32[8]{0} all-reduce-start(%a.1), replica_groups=[2,4]<=[8]
  %ard = f32[8]{0} all-reduce-done(%ars)
  %ags = (bf16[4]{0}, bf16[32]{0}) all-gather-start(%a.1), replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}
  %agd = bf16[32]{0} all-gather-done(%ags)
  %both = (f32[3]{0}, f32[5]{0:T(256)S(1)}) all-reduce(%a.1, %ard), replica_groups=mesh['x'=2,'y'=4] {'y'}
  ROOT %cp = pred[16]{0} collective-permute(%a.1), source_target_pairs={{2,6},{6,2}}
"""

    def test_bytes_and_kinds(self) -> None:
        found = [(one.kind, one.nbytes) for one in instructions(self.TEXT) if one.kind]
        # A start and its done count once, and the operands of a gather do not count.
        assert found == [
            ("all-reduce", 32),
            ("all-reduce", 32),
            ("all-gather", 64),
            ("all-reduce", 32),
            ("collective-permute", 16),
        ]

    def test_the_first_group(self) -> None:
        groups = [first_group(one.attributes, 8) for one in instructions(self.TEXT) if one.kind]
        assert groups == [(0, 4), (0, 1, 2, 3), (0, 4), (0, 1, 2, 3), (2, 6)]
        assert first_group("", 4) == (0, 1, 2, 3)
