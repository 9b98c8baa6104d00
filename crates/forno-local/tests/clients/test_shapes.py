"""The judge judged: what the walker must not let pass."""

import unittest

import shapes
from support import Case

TEMPLATE = (
    '<{root} xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>{inside}</{root}>'
)


class Walker(Case):
    def verdict(self, name, inside, root=None):
        operation = self.ec2.meta.service_model.operation_model(name)
        return shapes.walk_reply(operation, TEMPLATE.format(root=root or f"{name}Response", inside=inside))

    def test_every_reply_is_walked(self):
        before = Case.walked
        self.ec2.describe_regions()
        self.assertEqual(Case.walked, before + 1)

    def test_faults_are_found(self):
        vpc = "<vpcSet><item>{}</item></vpcSet>"
        self.assertEqual(self.verdict("DescribeVpcs", vpc.format("<state>available</state>")), [])
        for name, inside, word in (
            ("DescribeVpcs", vpc.format("<colour>red</colour>"), "unknown element colour"),
            ("DescribeVpcs", vpc.format("<state>tired</state>"), "no string of the model"),
            ("DescribeVpcs", vpc.format("<isDefault>yes</isDefault>"), "no boolean"),
            ("DescribeVpcs", vpc.format("<state>available</state>" * 2), "appears twice"),
            ("DescribeVpcs", "<vpcSet><vpc/></vpcSet>", "list element vpc"),
            ("DescribeVolumes", "<volumeSet><item><size>x</size></item></volumeSet>", "no integer"),
            ("DescribeVolumes", "<volumeSet><item><createTime>today</createTime></item></volumeSet>", "no timestamp"),
            ("CreateTags", "<thing/>", "unknown element thing"),
        ):
            with self.subTest(inside=inside):
                faults = self.verdict(name, inside)
                self.assertEqual(len(faults), 1, faults)
                self.assertIn(word, faults[0])
        self.assertIn("the root element", self.verdict("DescribeVpcs", "", root="Wrong")[0])


if __name__ == "__main__":
    unittest.main()
