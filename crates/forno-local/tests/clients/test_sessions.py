"""Sessions as boto3 and the official model see them; what they carry is driven by
tests of their own."""

import unittest

from channel import Channel
from support import Case, client


class Sessions(Case):
    def setUp(self):
        super().setUp()
        self.ssm = self.systems()

    def start(self, instance, **more):
        return self.ssm.start_session(Target=instance, DocumentName="AWS-StartSSHSession", **more)

    def described(self, state, **filters):
        chosen = [{"key": key, "value": value} for key, value in filters.items()]
        return self.ssm.describe_sessions(State=state, Filters=chosen)["Sessions"]

    def test_a_life_in_the_words_of_the_model(self):
        instance = self.running()["InstanceId"]
        self.online(instance)
        made = self.start(instance, Reason="a test", Parameters={"portNumber": ["22"]})
        session = made["SessionId"]
        self.assertRegex(made["StreamUrl"], rf"^ws://127\.0\.0\.1:\d+/v1/data-channel/{session}\?role=publish_subscribe&cell-number=")
        [found] = self.described("Active", Target=instance)
        self.assertEqual((found["SessionId"], found["Reason"], found["DocumentName"], found["Owner"].rsplit("/", 1)[1]),
                         (session, "a test", "AWS-StartSSHSession", "forno"))
        line = Channel(self.ssm, made).open()
        self.assertEqual(line.read(4), b"SSH-")
        started = found["StartDate"].isoformat()
        for filters, count in (({"Status": "Connected"}, 1), ({"Status": "Terminated"}, 0), ({"Owner": found["Owner"]}, 1),
                               ({"Owner": "x"}, 0), ({"InvokedAfter": started}, 1), ({"InvokedBefore": "2018-08-29T00:00:00Z"}, 0)):
            self.assertEqual(len(self.described("Active", SessionId=session, **filters)), count, filters)
        self.refused("InvalidFilterKey", self.described, "Active", InvokedAfter="yesterday")
        self.assertEqual(self.ssm.resume_session(SessionId=session)["SessionId"], session)
        self.assertEqual(self.ssm.terminate_session(SessionId=session)["SessionId"], session)
        line.until(lambda: line.closed)
        [ended] = self.described("History", SessionId=session)
        self.assertEqual(ended["Status"], "Terminated")
        self.assertGreaterEqual(ended["EndDate"], ended["StartDate"])
        self.ssm.terminate_session(SessionId=session)
        # Nothing of a session is known in another region.
        elsewhere = client("ssm", region="eu-west-1")
        self.refused("DoesNotExistException", elsewhere.resume_session, SessionId=session)
        self.assertEqual(elsewhere.describe_sessions(State="History")["Sessions"], [])


if __name__ == "__main__":
    unittest.main()
