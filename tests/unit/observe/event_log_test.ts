import { assertEquals } from "@std/assert";
import { EventLog } from "../../../lib/observe/event_message.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { Recorder } from "../../support/recorder.ts";

Deno.test("EventLog keeps the last 200 events and passes all on", () => {
  const recorder = new Recorder();
  const log = new EventLog(recorder, new FakeClock(0, 1_767_225_600_000));
  for (let n = 1; n <= 250; n++) log.event({ kind: "unread_export", name: `name${n}` });
  assertEquals(recorder.events.length, 250);
  assertEquals(log.after(0).length, 200);
  assertEquals(log.after(0)[0]?.id, 51);
  assertEquals(log.after(249), [{
    id: 250,
    time: "2026-01-01T00:00:00.000Z",
    level: "warn",
    kind: "unread_export",
    message: 'The export "name250" is not used: it is not a configuration key',
  }]);
});

Deno.test("EventLog leaves out what tells of single requests, which would push out all else", () => {
  const recorder = new Recorder();
  const log = new EventLog(recorder, new FakeClock());
  log.event({
    kind: "request_log",
    level: "info",
    requestId: "1",
    message: "hello",
    fields: {},
  });
  assertEquals([log.after(0), recorder.events.length], [[], 1]);
});
