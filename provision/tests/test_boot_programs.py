"""The two programs that run at a machine's boot, rendered as Ansible renders
them and run here in a folder of their own: what they write, and what they say
to user data that is wrong."""

import contextlib
import io
import pathlib
import runpy
import stat
import subprocess
import tempfile
import unittest
from unittest import mock

import jinja2
import yaml

PROVISION = pathlib.Path(__file__).resolve().parent.parent


class BootProgram(unittest.TestCase):
    role: pathlib.Path
    template: str
    places: dict

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        defaults = yaml.safe_load((self.role / "defaults/main.yml").read_text())
        values = {"ansible_managed": "rendered by a test"}
        for name, value in defaults.items():
            values[name] = self.places[name](self.root) if name in self.places else value
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
        source = (self.role / "templates" / self.template).read_text()
        self.program = self.root / "program.py"
        self.program.write_text(environment.from_string(source).render(values))

    def run_program(self, **patches):
        """Its output and its exit message, `None` when it ended well."""
        output = io.StringIO()
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(output))
            self.chown = stack.enter_context(mock.patch("shutil.chown"))
            for name, replacement in patches.items():
                stack.enter_context(mock.patch(name.replace("__", "."), replacement))
            try:
                runpy.run_path(str(self.program))
            except SystemExit as exit:
                return output.getvalue(), exit.code
        return output.getvalue(), None


class WorkerJoin(BootProgram):
    role = PROVISION / "worker/roles/buildbot_worker"
    template = "worker-join.py.j2"
    places = {
        "buildbot_worker_home": lambda root: str(root),
        "buildbot_worker_join": lambda root: str(root / "join.env"),
    }

    GOOD = "CONTROLLER=172.31.0.10\nWORKER_NAME=worker-1\nWORKER_PASSWORD=%s\n"

    def join(self, text):
        (self.root / "join.env").write_text(text)
        return self.run_program()

    def tac(self):
        return self.root / "buildbot.tac"

    def joined_with(self):
        """The arguments with which the file makes a Worker, by running it."""
        worker = mock.MagicMock()
        names = ("buildbot_worker", "buildbot_worker.bot", "twisted", "twisted.application", "twisted.python", "twisted.python.log")
        modules = {name: mock.MagicMock() for name in names}
        modules["buildbot_worker.bot"].Worker = worker
        with mock.patch.dict("sys.modules", modules):
            runpy.run_path(str(self.tac()))
        return worker.call_args.args

    def test_without_user_data_it_stays_idle(self):
        output, code = self.run_program()
        self.assertIsNone(code)
        self.assertIn("stays idle", output)
        self.assertFalse(self.tac().exists())

    def test_joins_with_the_password_as_given(self):
        for password in ("plain", "it's \"quoted\"", "back\\slash", "{braces} %s $HOME", "a=b=c", "ünïcode"):
            with self.subTest(password=password):
                output, code = self.join(self.GOOD % password)
                self.assertIsNone(code)
                self.assertEqual(
                    self.joined_with(), ("172.31.0.10", 9989, "worker-1", password, str(self.root)))
                self.assertNotIn(password, output)

    def test_keeps_the_password_from_others(self):
        self.join(self.GOOD % "x")
        for path in (self.tac(), self.root / "join.env"):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)
        self.chown.assert_called_once()
        self.assertEqual(self.chown.call_args.args[1:], ("buildbot", "buildbot"))
        self.assertEqual([path.name for path in self.root.glob("tmp*")], [])

    def test_another_port(self):
        self.join(self.GOOD % "x" + "# moved\n\nCONTROLLER_PORT=10000\n")
        self.assertEqual(self.joined_with()[1], 10000)

    def test_says_what_is_wrong_and_never_a_value(self):
        wrong = {
            "CONTROLLER=c\nWORKER_NAME=w\n": "WORKER_PASSWORD missing",
            "CONTROLLER=\nWORKER_NAME=w\nWORKER_PASSWORD=hidden\n": "CONTROLLER missing",
            "": "CONTROLLER, WORKER_NAME, WORKER_PASSWORD missing",
            "PASSWORD=hidden\n": ":1: not one of",
            "CONTROLLER=c\nhidden\n": ":2: not one of",
            self.GOOD % "hidden" + "CONTROLLER_PORT=http\n": "not a port",
            self.GOOD % "hidden" + "CONTROLLER_PORT=70000\n": "not a port",
        }
        for text, message in wrong.items():
            with self.subTest(text=text):
                output, code = self.join(text)
                self.assertIn(message, code)
                self.assertNotIn("hidden", code + output)
                self.assertFalse(self.tac().exists())


class ControllerSetup(BootProgram):
    role = PROVISION / "controller/roles/buildbot_master"
    template = "controller-setup.py.j2"
    places = {
        "buildbot_master_home": lambda root: str(root),
        "buildbot_master_settings": lambda root: str(root / "controller.toml"),
        "buildbot_master_htpasswd": lambda root: str(root / "htpasswd"),
    }

    def setUp(self):
        super().setUp()
        self.upgrades = []
        self.real_run = subprocess.run

    def prepare(self, text=None):
        if text is not None:
            (self.root / "controller.toml").write_text(text)

        def run(command, **options):
            if command[0] == "runuser":
                self.upgrades.append(command)
                return subprocess.CompletedProcess(command, 0)
            return self.real_run(command, **options)

        return self.run_program(subprocess__run=run)

    def htpasswd(self):
        return (self.root / "htpasswd").read_text()

    def test_without_settings_nobody_may_change_anything(self):
        output, code = self.prepare()
        self.assertIsNone(code)
        self.assertIn("no worker can join", output)
        self.assertEqual(self.htpasswd(), "")
        self.assertEqual(len(self.upgrades), 1)

    def test_hashes_passwords(self):
        output, code = self.prepare('[workers]\nw1 = "for w1"\n[users]\nzoe = "for zoe"\nann = "it\'s $1"\n')
        self.assertIsNone(code)
        self.assertIn("workers that may join: w1", output)
        lines = dict(line.split(":") for line in self.htpasswd().splitlines())
        self.assertEqual(list(lines), ["ann", "zoe"])
        for name, password in (("ann", "it's $1"), ("zoe", "for zoe")):
            salt = lines[name].split("$")[2]
            again = subprocess.run(
                ["openssl", "passwd", "-6", "-stdin", "-salt", salt],
                input=password + "\n", capture_output=True, text=True, check=True).stdout.strip()
            self.assertEqual(lines[name], again)
        for secret in ("for zoe", "it's $1", "for w1"):
            self.assertNotIn(secret, output + self.htpasswd())
        self.assertEqual(stat.S_IMODE((self.root / "htpasswd").stat().st_mode), 0o640)
        self.assertEqual(stat.S_IMODE((self.root / "controller.toml").stat().st_mode), 0o640)

    def test_says_what_is_wrong_and_never_a_value(self):
        wrong = {
            "users = 1\n": "users must be a table",
            '[users]\n"a:b" = "hidden"\n': "'a:b'",
            '[users]\na = ""\n': "'a'",
            '[users]\na = "hidden\\nline"\n': "'a'",
            "[users]\na = 1\n": "'a'",
            "[workers]\nw = 1\n": "'w'",
            "workers = []\n": "workers must be a table",
            "[users\n": "controller.toml: ",
        }
        for text, message in wrong.items():
            with self.subTest(text=text):
                output, code = self.prepare(text)
                self.assertIn(message, code)
                self.assertNotIn("hidden", code + output)
                self.assertEqual(self.upgrades, [])


# The base class is none to be run by itself.
del BootProgram

if __name__ == "__main__":
    unittest.main()
