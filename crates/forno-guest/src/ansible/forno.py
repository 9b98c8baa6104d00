"""Tells what a play does as JSON: one object a line, each after a record separator.

forno reads these lines; everything else that Ansible prints passes by them as
it is. Works with ansible-core 2.14 and later.
"""

from __future__ import annotations

import json
import sys

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
    name: forno
    type: stdout
    short_description: one JSON object a line, for forno
    description:
      - Tells plays, tasks and results to the program that runs Ansible.
    options: {}
"""

# Longer texts are cut, because a message is for people; at the end of a line or
# a word, because half a secret would not be recognised as one.
LIMIT = 4000


def attribute(result, name):
    """Of a result: public since 2.19, with an underscore before."""
    value = getattr(result, name, None)
    return getattr(result, "_" + name) if value is None else value


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "forno"

    def _tell(self, **what):
        line = json.dumps(what, default=str)
        sys.stdout.write("\x1e" + line + "\n")
        sys.stdout.flush()

    def _text(self, value):
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            value = json.dumps(value, default=str, ensure_ascii=False)
        if len(value) <= LIMIT:
            return value
        cut = value.rfind("\n", 0, LIMIT)
        if cut < 0:
            cut = value.rfind(" ", 0, LIMIT)
        return value[: max(cut, 0)] + " …"

    def _outcome(self, result, status):
        data = attribute(result, "result")
        task = attribute(result, "task")
        what = {
            "event": "result",
            "task": task.get_name().strip(),
            "host": attribute(result, "host").get_name(),
            "status": status,
        }
        shown = task.action.rsplit(".", 1)[-1] in ("debug", "assert", "fail")
        if status in ("failed", "ignored", "unreachable"):
            what["message"] = self._text(data.get("msg") or data.get("reason") or data.get("censored"))
            for stream in ("stdout", "stderr"):
                what[stream] = self._text(data.get(stream) or data.get("module_" + stream))
            # Facts are gathered by modules of their own, each with its reason.
            broken = data.get("failed_modules")
            if isinstance(broken, dict) and not what["stderr"]:
                texts = [m.get("module_stderr") or m.get("msg") for m in broken.values() if isinstance(m, dict)]
                what["stderr"] = self._text("\n".join(text for text in texts if text))
        elif shown and not data.get("censored"):
            variable = getattr(task, "args", {}).get("var")
            value = data.get(variable) if isinstance(variable, str) else data.get("msg")
            what["message"] = self._text(value)
        if self._display.verbosity > 0 and not data.get("censored"):
            what["detail"] = self._text(self._dump_results(data))
        for warning in data.get("warnings") or ():
            self._tell(event="warning", message=self._text(warning))
        self._tell(**what)

    def v2_playbook_on_play_start(self, play):
        self._tell(event="play", name=play.get_name().strip())

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._tell(event="task", task=task.get_name().strip())

    def v2_playbook_on_cleanup_task_start(self, task):
        self._tell(event="task", task=task.get_name().strip())

    def v2_playbook_on_handler_task_start(self, task):
        self._tell(event="task", task=task.get_name().strip(), handler=True)

    def v2_playbook_on_no_hosts_matched(self):
        self._tell(event="warning", message="no host matched: does the play say `hosts: all`?")

    def v2_runner_on_ok(self, result):
        changed = attribute(result, "result").get("changed", False)
        self._outcome(result, "changed" if changed else "ok")

    def v2_runner_on_skipped(self, result):
        self._outcome(result, "skipped")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._outcome(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result):
        self._outcome(result, "unreachable")

    def v2_runner_item_on_failed(self, result):
        data = attribute(result, "result")
        self._tell(
            event="item",
            item=self._text(self._get_item_label(data)),
            message=self._text(data.get("msg")),
            stderr=self._text(data.get("stderr") or data.get("module_stderr")),
        )

    def v2_runner_retry(self, result):
        data = attribute(result, "result")
        task = attribute(result, "task").get_name().strip()
        left = data.get("retries", 0) - data.get("attempts", 0)
        self._tell(event="retry", task=task, left=left)

    def v2_playbook_on_stats(self, stats):
        hosts = {host: stats.summarize(host) for host in stats.processed}
        self._tell(event="stats", hosts=hosts)
