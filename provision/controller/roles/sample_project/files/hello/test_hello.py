import subprocess
import unittest

GREETERS = (["./hello"], ["java", "-cp", ".", "Hello"])


class Greeting(unittest.TestCase):
    def test_the_world(self):
        for greeter in GREETERS:
            with self.subTest(greeter=greeter):
                self.assertEqual(subprocess.check_output(greeter, text=True), "hello, world\n")

    def test_somebody(self):
        for greeter in GREETERS:
            with self.subTest(greeter=greeter):
                self.assertEqual(subprocess.check_output(greeter + ["forno"], text=True), "hello, forno\n")


if __name__ == "__main__":
    unittest.main()
