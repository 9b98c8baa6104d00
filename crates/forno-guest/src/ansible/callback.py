"""Tells what a play does as JSON lines, each behind a record separator.

Ansible loads it as its stdout callback; results arrive here after Ansible has
taken out what `no_log` hides.
"""

import json
import sys

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: forno
type: stdout
short_description: JSON lines for forno
description: One JSON object a line for each play, task and result.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "forno"

    def tell(self, kind, **fields):
        line = json.dumps({"kind": kind, **fields}, default=str)
        sys.stdout.write("\x1e" + line + "\n")
        sys.stdout.flush()

    def told(self, outcome, result, **more):
        body = getattr(result, "result", None) or result._result
        task = getattr(result, "task", None) or result._task
        fields = {}
        if outcome in ("failed", "unreachable", "ignored") or self._display.verbosity > 0:
            for key in ("msg", "stdout", "stderr", "module_stdout", "module_stderr", "reason"):
                value = body.get(key)
                if value:
                    fields[key] = value if isinstance(value, str) else json.dumps(value, default=str)
        self.tell("result", task=task.get_name(), outcome=outcome, **fields, **more)

    def v2_playbook_on_play_start(self, play):
        self.tell("play", name=play.get_name().strip())

    def v2_playbook_on_task_start(self, task, is_conditional):
        self.tell("task", name=task.get_name().strip())

    def v2_playbook_on_handler_task_start(self, task):
        self.tell("task", name=task.get_name().strip())

    def v2_playbook_on_include(self, included_file):
        pass

    def v2_playbook_on_no_hosts_matched(self):
        self.tell("nothing", reason="no host of the inventory matches the play")

    def v2_runner_on_ok(self, result):
        body = getattr(result, "result", None) or result._result
        self.told("changed" if body.get("changed") else "ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.told("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result):
        self.told("unreachable", result)

    def v2_runner_on_skipped(self, result):
        self.told("skipped", result)

    def v2_runner_retry(self, result):
        body = getattr(result, "result", None) or result._result
        self.told("retry", result, attempt=body.get("attempts"))

    def v2_runner_item_on_failed(self, result):
        body = getattr(result, "result", None) or result._result
        item = body.get("_ansible_item_label", body.get("item"))
        self.told("item-failed", result, item=str(item), message=str(body.get("msg", "")))

    def v2_playbook_on_stats(self, stats):
        hosts = {host: stats.summarize(host) for host in sorted(stats.processed)}
        self.tell("stats", hosts=hosts)
